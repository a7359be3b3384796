"""Help pages and messages for people; light, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from rlsd_pl.commands.presets import DEFAULTS, available, description


class Page(NamedTuple):
    """What ``rlsd-pl COMMAND --help`` says: the purpose, and options with their meaning."""

    purpose: str
    flags: Sequence[tuple[str, str]]


ORDER = (
    *("objective", "task", "model", "adapter", "teacher", "context", "verifier"),
    *("experiment", "trainer", "logger", "engine"),
)
"""Of preset groups on a page: what people choose most comes first."""

PAGES = {
    "fit": Page(
        "Train a policy on verifiable rewards, from the embedded lab to your own model.",
        [
            (
                "--objective.epsilon_w 0.3",
                "any argument of the objective's class; likewise --teacher.* --task.* --engine.*",
            ),
            (
                "--data.group_size 8",
                "completions per prompt; see also prompts_per_rollout, max_completion_tokens, val_problems",
            ),
            ("--optimizer.lr 1e-5", "of AdamW, or of --optimizer CLASS"),
            ("--trainer.max_epochs 60", "iterations: a rollout and its updates each"),
            ("--model PATH_OR_HUB_ID", "a Hugging Face causal LM with a chat template"),
            ("--adapter lora", "train low-rank adapters instead of all weights; see also --model.lora.r"),
            ("--task jsonl --task.path FILE", "problems of your own, with answers and privileged text as columns"),
            ("--seed_everything 1", "the seed of problems, sampling and initialisation"),
            ("--run_dir FOLDER", "where the run writes; default runs/TIME-OBJECTIVE-TASK"),
            ("--resume FOLDER", "go on with a run after its last finished iteration; 'last' for the newest one"),
            ("--resume_changes allow", "also under settings or data that make another run of it"),
        ],
    ),
    "evaluate": Page(
        "Accuracy and health of a policy on held-out problems.",
        [
            ("--checkpoint FOLDER", "a run folder: its newest checkpoint, on its own task and settings"),
            ("--checkpoint MODEL", "a Hugging Face folder or hub id: on the task of --task"),
            ("--data.val_problems 512", "held-out problems"),
            ("--data.val_samples 8", "sampled completions per problem, for avg@k and pass@k; 0 for greedy only"),
            ("--task jsonl --task.path FILE", "other problems than the run's own"),
            ("--output FILE", "where the results go; default RUN_FOLDER/evaluation.json"),
        ],
    ),
    "preflight": Page(
        "Sample a few groups as a run would: whether it can learn, what it will take, what to change.",
        [
            ("--groups 16", "problems to sample; twice as many where none of the first ones has a signal"),
            ("--output preflight.html", "the report as a page; the terminal shows the same tables"),
            ("--model PATH_OR_HUB_ID", "this and all other flags and presets are those of fit"),
            ("", "exit status 0: training can learn; 1: it cannot; 2: a mistake in settings, data or model"),
        ],
    ),
    "sweep": Page(
        "Train with several objectives on several seeds, and compare them.",
        [
            ("--objectives rlvr,opsd,rlsd", "presets, import paths of classes, or YAML files to compare"),
            ("--seeds 0,1,2", "the default; each objective runs once per seed"),
            ("--jobs 2", "runs at a time (default 1); each gets its share of the cores"),
            ("--at 10,30,60", "also tabulate sampled accuracy at exactly these iterations"),
            (
                "--grid.optimizer.lr 1e-4,2e-4",
                "any flag of fit with several values; each objective is reported at its own best of them",
            ),
            ("--select_seeds 10,11", "seeds to choose these on, none of --seeds; by --select_by val/sampled_accuracy"),
            ("--optuna 20", "trials of each objective instead of all values; then also ranges, 1e-5:1e-3:log"),
            ("--cluster slurm", "each run as a job, with --cluster.timeout_min 240 and other parameters of submitit"),
            (
                "--sweep_dir FOLDER",
                "default sweeps/TIME; call again with it to go on: finished runs are skipped, others resumed",
            ),
            ("--trainer.max_epochs 60", "this and all other flags and presets go to every run of fit unchanged"),
        ],
    ),
    "make-privileged": Page(
        "Reference solutions or documents for the teacher, checked.",
        [
            ("--output FILE", "the table again, as JSONL, with one column more; call again to go on where it stopped"),
            ("", "of a task that is no table (--task reasoning_gym, lab): its question, answer and solution"),
            (
                "--column reference",
                "the new column (no table: solution); train with --context solution --context.field reference",
            ),
            (
                "--model MODEL",
                "who proposes solutions; kept only if the verifier passes them, the shortest for each problem",
            ),
            ("--endpoint URL", "propose through an OpenAI-compatible service instead, with --endpoint_model NAME"),
            ("--key_variable OPENAI_API_KEY", "the environment variable with the service's key"),
            (
                "--source sympy",
                "work out linear and quadratic equations and arithmetic instead; all else is not solved",
            ),
            (
                "--documents FILE",
                "attach texts (JSONL: id, text) that the column --retrieved names, instead of solutions",
            ),
            ("--data.group_size 8", "proposals per problem; also --data.max_completion_tokens, --data.temperature"),
            ("--batch 32", "problems per call of the engine or the service, and per write"),
            ("--limit N", "stop after N problems; needed for a task without end"),
        ],
    ),
}


def print_help(command: str) -> None:
    """A page for people: presets, the flags that matter, where to find the rest."""
    from rich.console import Console
    from rich.table import Table

    page = PAGES[command]
    console = Console(highlight=False, width=min(Console().width, 120))
    console.print(f"[bold]rlsd-pl {command}[/] \\[options]\n\n{page.purpose}\n")
    presets = Table("option", "value", "", box=None, title="Presets", title_justify="left", title_style="bold")
    for group in ORDER:
        for i, name in enumerate(available(group)):
            marker = " [dim](default)[/]" if DEFAULTS.get(group) == name else ""
            presets.add_row(f"--{group}" if i == 0 else "", name + marker, _escape(description(group, name)))
    console.print(presets, "")
    table = Table("option", "", box=None, title="Often used", title_justify="left", title_style="bold")
    for flag, meaning in page.flags:
        table.add_row(flag, meaning)
    console.print(table)
    console.print(
        "\nEvery option is typed and can stand in a YAML file (--config FILE, later ones win).\n"
        "--help-all lists all of them; --print_config shows the resolved settings."
    )


def fail(message: str) -> NoReturn:
    """Print an error for a person and leave with status 2."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {_escape(message)}")
    sys.exit(2)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
