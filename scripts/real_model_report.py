"""Figures and tables of docs/real-model.md: ``python scripts/real_model_report.py --root real``."""

import sys

from rlsd_pl.commands.real_model import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
