"""Build privileged data: ``python scripts/make_privileged.py --task jsonl --task.path FILE --output FILE``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["make-privileged", *sys.argv[1:]]))
