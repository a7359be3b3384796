"""``rlsd-pl evaluate``: a run, or any Hugging Face model, on held-out problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rlsd_pl.commands.cli import PartsCLI, quiet_libraries
from rlsd_pl.commands.parser import give_up
from rlsd_pl.commands.presets import compose_over, expand
from rlsd_pl.commands.runs import CONFIG_FILE, newest_checkpoint, newest_run, take_option
from rlsd_pl.distributed import global_sum
from rlsd_pl.persistence.checkpoint_io import DurableCheckpointIO

EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        name: the folder or hub id that was given.
        arguments: for the parser, presets expanded.
        weights: a run's newest checkpoint; ``None`` where the model's own weights are meant.
        output: where the results go unless told otherwise; ``None`` prints them only.
    """

    name: str
    arguments: list[str]
    weights: Path | None
    output: Path | None

    @classmethod
    def from_arguments(cls, checkpoint: str, argv: list[str]) -> Subject:
        """A run's folder, ``last`` for the newest, brings its configuration; presets and flags apply on top of it.

        A Hugging Face folder or hub id is a model for the presets' task. It gets the objective that needs no teacher,
        so that problems without privileged text count.

        Raises:
            ValueError: if a run has no finished iteration, or a preset does not exist.
        """
        folder = newest_run() if checkpoint == "last" else Path(checkpoint)
        if (folder / CONFIG_FILE).exists():
            weights = newest_checkpoint(folder)
            arguments = compose_over(folder / CONFIG_FILE, argv).arguments
            return cls(checkpoint, arguments, weights, folder / EVALUATION_FILE)
        if (folder / "checkpoints").exists():
            raise ValueError(
                f"{folder} holds checkpoints but no {CONFIG_FILE}; set --checkpoint to a whole run folder."
            )
        return cls(checkpoint, expand(["--objective", "rlvr", "--model", checkpoint, *argv]), None, None)


@dataclass(frozen=True)
class Result:
    """One evaluation, as ``evaluation.json`` holds it.

    Attributes:
        checkpoint: what was asked for.
        weights: file of a run's weights; ``None`` for a Hugging Face model.
        samples: sampled completions per problem; 0 where only the greedy one was made.
        metrics: keys as in training, without ``val/``.
    """

    checkpoint: str
    weights: str | None
    task: str
    problems: int
    samples: int
    metrics: dict[str, float]

    def rows(self) -> list[tuple[str, float]]:
        """Name for people and value, accuracies first."""
        named = {"greedy_accuracy": "greedy accuracy", "sampled_accuracy": f"avg@{self.samples}"}
        named |= {"strict_accuracy": "strict accuracy"}
        passes = sorted((key for key in self.metrics if key.startswith("pass_at_")), key=lambda key: int(key[8:]))
        named |= {key: key.replace("pass_at_", "pass@") for key in passes}
        named |= {key: key.replace("maj_at_", "maj@") for key in self.metrics if key.startswith("maj_at_")}
        named |= {key: key.replace("_", " ") for key in self.metrics if key not in named}
        return [(name, self.metrics[key]) for key, name in named.items() if key in self.metrics]


class EvaluateCLI(PartsCLI):
    """Parts of a run without what a run leaves behind: no logs, no checkpoints, no training callbacks."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A Trainer that writes nothing."""
        trainer = super().instantiate_trainer(
            logger=False,
            callbacks=[],
            enable_checkpointing=False,
            enable_progress_bar=False,
            **kwargs,
        )
        trainer.strategy.checkpoint_io = DurableCheckpointIO()
        return trainer


def evaluate(argv: Sequence[str]) -> Result:
    """Evaluate, show a table, write ``evaluation.json``; exits with one line on a mistake."""
    quiet_libraries()
    try:
        output, rest = take_option(list(argv), "output")
        checkpoint, rest = take_option(rest, "checkpoint")
        if checkpoint is None:
            raise ValueError("Got no --checkpoint; expected a run folder, a Hugging Face folder or a hub id.")
        subject = Subject.from_arguments(checkpoint, rest)
        cli = EvaluateCLI(subject.arguments)
        result = _validate(cli, subject)
    except Exception as error:
        give_up(error)
    if cli.trainer.is_global_zero:
        _report(result, Path(output) if output else subject.output)
    return result


def main(argv: Sequence[str]) -> None:
    """Evaluate."""
    evaluate(argv)


def _validate(cli: EvaluateCLI, subject: Subject) -> Result:
    with Progress(transient=True, disable=not cli.trainer.is_global_zero) as progress:
        bar = progress.add_task("completions")
        cli.datamodule.on_progress = lambda done: progress.update(bar, completed=done.finished, total=done.total)
        (measured,) = cli.trainer.validate(
            cli.model, datamodule=cli.datamodule, ckpt_path=subject.weights, verbose=False, weights_only=True
        )
    problems = global_sum(len(cli.model.evaluation.greedy), cli.model.device)
    return Result(
        subject.name,
        None if subject.weights is None else str(subject.weights),
        type(cli.datamodule.task).__name__,
        int(problems),
        cli.datamodule.val_samples,
        {key.removeprefix("val/"): value for key, value in measured.items() if key.startswith("val/")},
    )


def _report(result: Result, output: Path | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{result.checkpoint}[/] on {result.problems} held-out problems of {result.task}, "
        f"{result.samples} samples each"
    )
    table = Table("held-out", "value", box=None)
    for name, value in result.rows():
        table.add_row(name, f"{value:.3f}")
    console.print(table)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(asdict(result), indent=2) + "\n")
        console.print(f"Written to {output}.")
