"""A page from runs or a sweep: ``python scripts/report.py sweeps/NAME -o report``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
