"""Make the lab's base policy: ``python scripts/pretrain_lab.py --output FOLDER``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["pretrain-lab", *sys.argv[1:]]))
