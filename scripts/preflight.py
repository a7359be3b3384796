"""Look before you train: ``python scripts/preflight.py`` with the flags of ``scripts/fit.py``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["preflight", *sys.argv[1:]]))
