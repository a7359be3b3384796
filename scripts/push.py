"""A run's exported model to the hub: ``python scripts/push.py RUN --repo_id ORG/NAME``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["push", *sys.argv[1:]]))
