"""SmolLM2-135M-Instruct as a Hugging Face folder: ``python scripts/small_model.py --output FOLDER``."""

import sys

from rlsd_pl.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["small-model", *sys.argv[1:]]))
