"""Train a policy: ``python scripts/fit.py --objective rlsd``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))
