"""Compare objectives over seeds: ``python scripts/sweep.py --objectives rlvr,opsd,rlsd --seeds 0,1,2``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
