"""Evaluate a run or a model on held-out problems: ``python scripts/evaluate.py --checkpoint RUN_OR_MODEL``."""

import sys

from rlsd_pl.commands.presets import print_help

FLAGS = [
    ("--checkpoint FOLDER", "a run folder: its newest checkpoint, on its own task and settings"),
    ("--checkpoint MODEL", "a Hugging Face folder or hub id: on the task of --task"),
    ("--data.val_problems 512", "held-out problems"),
    ("--data.val_samples 8", "sampled completions per problem, for avg@k and pass@k; 0 for greedy only"),
    ("--task jsonl --task.path FILE", "other problems than the run's own"),
    ("--output FILE", "where the results go; default RUN_FOLDER/evaluation.json"),
]


def main() -> None:
    """Show help without loading the libraries, or evaluate."""
    argv = sys.argv[1:]
    if {"-h", "--help"} & set(argv):
        print_help("evaluate.py", "Accuracy and health of a policy on held-out problems.", FLAGS)
        return
    from rlsd_pl.commands.evaluate import evaluate

    evaluate(["--help" if argument == "--help-all" else argument for argument in argv])


if __name__ == "__main__":
    main()
