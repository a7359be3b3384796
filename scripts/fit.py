"""Train a policy: ``python scripts/fit.py --objective rlsd``."""

import sys

from rlsd_pl.commands.presets import fail, print_help

FLAGS = [
    ("--objective.epsilon_w 0.3", "any argument of the objective's class; likewise --teacher.* --task.* --engine.*"),
    (
        "--data.group_size 8",
        "completions per prompt; see also prompts_per_rollout, max_completion_tokens, val_problems",
    ),
    ("--optimizer.lr 1e-5", "of AdamW, or of --optimizer CLASS"),
    ("--trainer.max_epochs 60", "iterations: a rollout and its updates each"),
    ("--model PATH_OR_HUB_ID", "a Hugging Face causal LM with a chat template"),
    ("--model.lora.r 16", "train low-rank adapters instead of all weights"),
    ("--task jsonl --task.path FILE", "problems of your own, with answers and privileged text as columns"),
    ("--seed_everything 1", "the seed of problems, sampling and initialisation"),
    ("--run_dir FOLDER", "where the run writes; default runs/TIME-OBJECTIVE-TASK"),
    ("--resume FOLDER", "go on with a run after its last finished iteration; 'last' for the newest one"),
]


def main() -> None:
    """Show help without loading the libraries, or train."""
    argv = sys.argv[1:]
    if {"-h", "--help"} & set(argv):
        print_help("fit.py", "Train a policy on verifiable rewards, from the embedded lab to your own model.", FLAGS)
        return
    try:
        from rlsd_pl.commands.presets import expand

        expand(argv)
    except ValueError as error:
        fail(str(error))
    from rlsd_pl.commands.cli import fit

    fit(["--help" if argument == "--help-all" else argument for argument in argv])


if __name__ == "__main__":
    main()
