"""Judge rules of leakage detection by finished runs: ``python scripts/leakage_alarms.py SWEEP``; see ``--help``."""

import sys

from rlsd_pl.commands.leakage_alarms import main

if __name__ == "__main__":
    main(sys.argv[1:])
