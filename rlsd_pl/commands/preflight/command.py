"""``rlsd-pl preflight``: a few groups, sampled as a run would: can it learn, what does it take, what to change."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import Progress

from rlsd_pl.commands.cli import PartsCLI, quiet_libraries
from rlsd_pl.commands.parser import give_up
from rlsd_pl.commands.preflight.advice import verdict
from rlsd_pl.commands.preflight.measure import Findings, measure
from rlsd_pl.commands.preflight.page import show, write_page
from rlsd_pl.commands.preflight.panels import panels
from rlsd_pl.commands.presets import compose
from rlsd_pl.commands.resolved import resolved_lines, show_resolved
from rlsd_pl.commands.runs import take_option
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.errors import SetupError
from rlsd_pl.module import PolicyModule
from rlsd_pl.trainer_settings import check_trainer_settings

GROUPS = 16
"""Enough for a share of groups to be known within a quarter; a second time as many where none of them has a signal."""

OUTPUT = "preflight.html"

CANNOT_LEARN = 1
"""Exit status."""


class Look(Callback):
    """Measures where training would begin, with the model on its device, and has nothing trained."""

    def __init__(self, groups: int, processes: int) -> None:
        self.groups, self.processes = groups, processes
        self.findings: Findings | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, PolicyModule)
        assert isinstance(data, RolloutDataModule)
        with Progress(transient=True) as progress:
            bar = progress.add_task("completions", total=None)
            data.on_progress = lambda done: progress.update(
                bar, description=done.phase, completed=done.finished, total=done.total
            )
            self.findings = measure(trainer, pl_module, data, self.groups, self.processes)
        trainer.limit_train_batches = trainer.num_sanity_val_steps = 0


class PreflightCLI(PartsCLI):
    """Parts of a run on one device, without what a run leaves behind."""

    def __init__(self, args: list[str], groups: int) -> None:
        self.groups = groups
        super().__init__(args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A Trainer of one process that writes nothing, and looks instead of training."""
        settings = self.config_init["trainer"]
        check_trainer_settings(settings)
        self.look = Look(self.groups, process_count(settings))
        settings["devices"], settings["num_nodes"], settings["strategy"] = 1, 1, "auto"
        settings["callbacks"] = [self.look]
        return super().instantiate_trainer(
            logger=False, enable_checkpointing=False, enable_progress_bar=False, **kwargs
        )


def process_count(settings: Any) -> int:
    """Of the run that the Trainer's settings describe; 1 where they leave it to the machine."""
    devices = settings.get("devices")
    if isinstance(devices, str) and devices.isdecimal():
        devices = int(devices)
    per_node = len(devices) if isinstance(devices, list) else devices if isinstance(devices, int) else 1
    return max(per_node, 1) * (settings.get("num_nodes") or 1)


def preflight(argv: Sequence[str]) -> Findings:
    """Look, print the report and write the page; exits with a few lines on a mistake."""
    quiet_libraries()
    try:
        groups, output, flags = _options(list(argv))
        composition = compose(flags)
        cli = PreflightCLI(composition.arguments, groups)
        show_resolved(cli.config, composition, cli.model)
        cli.trainer.fit(cli.model, cli.datamodule)
    except torch.OutOfMemoryError as error:
        give_up(_too_large(error))
    except Exception as error:  # whatever a part raises, a user's own included
        give_up(error)
    findings = cli.look.findings
    assert findings is not None
    told, found = verdict(findings, cli.datamodule), panels(findings, cli.datamodule)
    console = Console(highlight=False, soft_wrap=True)
    learns = findings.learns
    show(console, told, learns, found)
    command = shlex.join(["rlsd-pl", "preflight", *argv])
    write_page(output, told, learns, found, command, resolved_lines(cli.config, composition, cli.model))
    console.print(f"Written to {output}.")
    return findings


def main(argv: Sequence[str]) -> int:
    """Look.

    Returns:
        The exit status: 0 where training can learn, 1 where it cannot.
    """
    return 0 if preflight(argv).learns else CANNOT_LEARN


def _options(argv: list[str]) -> tuple[int, Path, list[str]]:
    """What is this command's own, and the flags of the run; the folder that it would write into is not touched."""
    given, argv = take_option(argv, "groups", "a number of problems")
    output, argv = take_option(argv, "output", "a file")
    _, argv = take_option(argv, "run_dir")
    resume, argv = take_option(argv, "resume")
    if resume is not None:
        raise ValueError(
            f"Got --resume {resume}; preflight looks at a run before it starts. Drop it, or set --config "
            f"{resume}/config.yaml to look at the settings of that run."
        )
    if given is not None and not (given.isdecimal() and int(given) > 0):
        raise ValueError(f"--groups got {given!r}; expected a whole number of problems of at least 1.")
    return int(given or GROUPS), Path(output or OUTPUT), argv


def _too_large(error: torch.OutOfMemoryError) -> SetupError:
    return SetupError(
        "The device's memory is too small for this run. Set --engine.batch_size or --data.micro_batch_size lower, "
        "--data.max_completion_tokens lower, --model.gradient_checkpointing true, --adapter lora, or "
        f"--trainer.precision bf16-mixed. {error}"
    )
