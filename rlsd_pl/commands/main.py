"""``rlsd-pl COMMAND``: one entry to all commands. Help comes without loading torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from rlsd_pl.commands.help import PAGES, fail, print_help

COMMANDS = {
    "fit": ("rlsd_pl.commands.fit", "train a policy"),
    "evaluate": ("rlsd_pl.commands.evaluate", "measure a run or a model on held-out problems"),
    "preflight": ("rlsd_pl.commands.preflight.command", "look before you train: can it learn, what does it take"),
    "rollouts": ("rlsd_pl.commands.rollouts", "look at the recorded rollouts of a run, tokens tinted by credit"),
    "sweep": ("rlsd_pl.commands.sweep.command", "train with several objectives and seeds, and compare"),
    "report": ("rlsd_pl.commands.report.command", "a page of curves, tables and warnings from runs or a sweep"),
    "make-privileged": ("rlsd_pl.commands.privileged.command", "write reference solutions for the teacher, checked"),
    "small-model": ("rlsd_pl.commands.small_model", "fetch a small instruct model for a first real run"),
    "push": ("rlsd_pl.commands.push", "upload a run's exported model to the Hugging Face hub"),
    "pretrain-lab": ("rlsd_pl.commands.pretrain_lab", "make the lab's base policy again"),
}
"""Module with a ``main(argv)``, and one line for people."""


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command that ``argv`` begins with; the process's own arguments by default.

    Returns:
        The exit status.
    """
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help"):
        return _overview()
    if name == "--version":
        from rlsd_pl import __version__

        return print(__version__)
    if name not in COMMANDS:
        fail(f"Got the command {name!r}; expected one of: {', '.join(COMMANDS)}.")
    if name in PAGES:
        if {"-h", "--help"} & set(rest):
            return print_help(name)
        rest = ["--help" if argument == "--help-all" else argument for argument in rest]
    return import_module(COMMANDS[name][0]).main(rest)


def _overview() -> None:
    print("rlsd-pl COMMAND [options]\n")
    for name, (_, purpose) in COMMANDS.items():
        print(f"  {name:16} {purpose}")
    print("\nrlsd-pl COMMAND --help has the options of each.")


if __name__ == "__main__":
    sys.exit(main())
