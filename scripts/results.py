"""Tables and figures of docs/results.md: ``python scripts/results.py [--runs sweeps]``."""

import sys

from rlsd_pl.commands.findings.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
