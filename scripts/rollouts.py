"""Look at the recorded rollouts of a run: ``python scripts/rollouts.py RUN --status fail --best``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["rollouts", *sys.argv[1:]]))
