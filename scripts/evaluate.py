"""Evaluate a run or a model on held-out problems: ``python scripts/evaluate.py --checkpoint RUN_OR_MODEL``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
