"""Parser and parts of every command: LightningCLI with the parts of this project linked together."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
import yaml
from jsonargparse.typing import PositiveInt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    LRSchedulerCallable,
    OptimizerCallable,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import Logger

from rlsd_pl.callbacks import HuggingFaceExport, LeakageDetection, SignalWatch
from rlsd_pl.commands.lifecycle import RunStart, finish, hold_data, how_to_go_on, reported
from rlsd_pl.commands.memory import release_memory, with_smaller_batches
from rlsd_pl.commands.parser import MODE, Parser, give_up, mistakes_told
from rlsd_pl.commands.presets import Composition, chosen_presets, compose, compose_resumed
from rlsd_pl.commands.resolved import show_resolved
from rlsd_pl.commands.resume import Change, ConfigHistory, changes, refuse_another_run, resumed_callbacks
from rlsd_pl.commands.runs import CONFIG_FILE, RunFolder
from rlsd_pl.contexts import Context
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.engines import Engine
from rlsd_pl.errors import SetupError, UserCodeError, in_user_code
from rlsd_pl.loggers import RunLogger
from rlsd_pl.module import PolicyModule
from rlsd_pl.objectives import Objective
from rlsd_pl.persistence.checkpoints import CheckpointError
from rlsd_pl.persistence.iterations import IterationCheckpoint
from rlsd_pl.persistence.stop import StopOnSignal, Stopped, kill_launched
from rlsd_pl.persistence.storage import concerns, write_text
from rlsd_pl.tasks.base import Task
from rlsd_pl.teachers import Teacher
from rlsd_pl.trainer import LOOP, SHOWN, WRITTEN, with_required
from rlsd_pl.trainer_settings import check_trainer_settings
from rlsd_pl.verifiers.base import Verifier

log = logging.getLogger(__name__)

# Aliases of other libraries, which know no ``|``.
OptionalScheduler = Optional[LRSchedulerCallable]  # noqa: UP045
OptionalCount = Optional[PositiveInt]  # noqa: UP045

LINKS = {
    "objective": ("model.objective", Objective),
    "teacher": ("model.teacher", Teacher),
    "context": ("model.context", Context),
    "task": ("data.task", Task),
    "verifier": ("data.verifier", Verifier),
    "engine": ("data.engine", Engine),
    "contrast": ("model.contrast", Context),
    "shifted": ("data.shifted", Task),
}

OPTIONAL = {"contrast", "shifted"}


class SaveResolvedConfig(SaveConfigCallback):
    """The resolved configuration, in the run folder, once."""

    def __init__(self, parser: LightningArgumentParser, config: Any, run_dir: str) -> None:
        super().__init__(parser, config, save_to_log_dir=False)
        self.path = Path(run_dir) / CONFIG_FILE

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """That of a resumed run stays until its first new iteration is saved."""
        if not self.path.exists():
            write_text(self.path, self.parser.dump(self.config, skip_none=False))


class PartsCLI(LightningCLI):
    """Parser and parts of every command that runs a policy on a task."""

    def __init__(
        self,
        args: list[str],
        save_config_callback: type[SaveConfigCallback] | None = None,
        save_config_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            PolicyModule,
            RolloutDataModule,
            save_config_callback=save_config_callback,
            save_config_kwargs=save_config_kwargs,
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False, "parser_mode": MODE},
            seed_everything_default=0,
            trainer_defaults=dict(LOOP),
            args=args,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Objective, teacher, context, task, verifier and engine stand at the top and are handed to their users."""
        for key, (target, base) in LINKS.items():
            parser.add_subclass_arguments(base, key, required=key not in OPTIONAL)
            parser.link_arguments(key, target, apply_on="instantiate")
        for key, kind in {"optimizer": OptimizerCallable, "lr_scheduler": OptionalScheduler}.items():
            parser.add_argument(f"--{key}", type=kind)
            parser.link_arguments(key, f"model.{key}")
        parser.add_subclass_arguments(RunLogger, "logger")
        parser.add_subclass_arguments(LeakageDetection, "leakage", required=False)
        callbacks = [{"class_path": f"rlsd_pl.callbacks.{name}"} for name in (*SHOWN, *WRITTEN)]
        # A run of an earlier version has neither in its configuration.
        logger = {"class_path": "rlsd_pl.loggers.TensorBoard"}
        leakage = {"class_path": "rlsd_pl.callbacks.LeakageDetection"}
        parser.set_defaults({"trainer.callbacks": callbacks, "logger": logger, "leakage": leakage})
        parser.link_arguments("seed_everything", "data.seed")
        parser.add_argument("--export.adapter", type=bool, default=False, help="also write LoRA unmerged, as adapter/")
        parser.add_argument("--num_threads", type=OptionalCount, help="CPU threads; one is best for tiny models")

    def before_instantiate_classes(self) -> None:
        """Set what the parts find in place."""
        if self.config["num_threads"] is not None:
            torch.set_num_threads(self.config["num_threads"])


class FitCLI(PartsCLI):
    """Parser and parts of a training run."""

    def __init__(self, composition: Composition, run: RunFolder, stop: StopOnSignal) -> None:
        self.run, self.composition, self.stop = run, composition, stop
        self.changes: list[Change] = []
        super().__init__(composition.arguments, SaveResolvedConfig, {"run_dir": str(run.path)})

    def before_instantiate_classes(self) -> None:
        """The settings are known: become the folder's owner, and refuse to make another run of it."""
        super().before_instantiate_classes()
        self.run.claim()
        self.resolved = self.parser.dump(self.config, skip_none=False)
        if not self.run.resumed:
            return
        before = yaml.safe_load((self.run.path / CONFIG_FILE).read_text())
        self.changes = changes(before, yaml.safe_load(self.resolved))
        refuse_another_run(self.run.path, self.changes, self.run.changes_allowed)
        planned = self.config["trainer"]["max_epochs"]
        if planned is not None and -1 < planned < self.run.iteration:
            raise ValueError(
                f"Got trainer.max_epochs={planned} for a run with {self.run.iteration} finished iterations; expected "
                "at least as many."
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A Trainer that writes into the run folder."""
        root, settings = self.run.path, self.config_init["trainer"]
        check_trainer_settings(settings)
        configured = settings.get("logger")
        extra = configured if isinstance(configured, list) else [configured] if isinstance(configured, Logger) else []
        if self.run.resumed:
            settings["num_sanity_val_steps"] = 0  # iteration 0 was evaluated when the run began
        if settings["max_epochs"] % (settings["check_val_every_n_epoch"] or 1):
            log.warning(
                "The last iteration will not be evaluated: max_epochs=%d is no multiple of check_val_every_n_epoch=%d.",
                settings["max_epochs"],
                settings["check_val_every_n_epoch"],
            )
        self._set_export(settings.get("callbacks") or [])
        given = [*self._leakage(settings.get("callbacks") or []), *(settings.get("callbacks") or [])]
        settings["callbacks"] = with_required([*self._guards(), *given], root)
        made = self.config_init["logger"].make(root, self.run.iteration, yaml.safe_load(self.resolved))
        loggers = [*made, *extra] or False
        return super().instantiate_trainer(default_root_dir=root, logger=loggers, **kwargs)

    def _set_export(self, callbacks: Sequence[Callback]) -> None:
        """Hand ``--export.*`` to the callback that exports."""
        if not self.config["export.adapter"]:
            return
        exports = [callback for callback in callbacks if isinstance(callback, HuggingFaceExport)]
        if not exports:
            raise SetupError(
                "Got --export.adapter true, but no HuggingFaceExport among --trainer.callbacks. Add it, or leave the "
                "flag out."
            )
        for callback in exports:
            callback.adapter = True

    def _leakage(self, callbacks: Sequence[Callback]) -> list[Callback]:
        """What ``--leakage`` says, unless a run of an earlier version has it among its callbacks."""
        watch = self.config_init["leakage"]
        present = any(isinstance(callback, LeakageDetection) for callback in callbacks)
        return [] if watch is None or present else [watch]

    def _guards(self) -> list[Callback]:
        """What makes a run stop well, save whole iterations, and go on as what it was."""
        replace = []
        if self.run.resumed:
            history = ConfigHistory(self.run.path / CONFIG_FILE, self.resolved, self.run.iteration)
            replace.append(history.write)
        checkpoint = IterationCheckpoint(self.run.path, self.stop.deferred, self.run.check, replace)
        watch = SignalWatch(command=f"rlsd-pl preflight --config {shlex.quote(str(self.run.path / CONFIG_FILE))}")
        return [self.stop, RunStart(self.run), *resumed_callbacks(self.changes), watch, checkpoint]


def build(argv: Sequence[str], stop: StopOnSignal | None = None) -> FitCLI:
    """Parse the arguments of ``fit`` and build all parts; exits with a few lines on a mistake."""
    quiet_libraries()
    with mistakes_told():
        given, run = RunFolder.from_arguments(list(argv), chosen_presets(argv))
        composition = compose_resumed(run.path / CONFIG_FILE, given) if run.resumed else compose(given)
        with reported(run):
            try:
                cli = FitCLI(composition, run, stop or StopOnSignal())
                hold_data(run, cli.datamodule.task)
            except BaseException:
                run.release()
                raise
        return cli


def fit(argv: Sequence[str] | None = None) -> FitCLI:
    """Build the parts, say what they are, and train; with smaller micro-batches where they do not fit into memory."""
    given = arguments = list(sys.argv[1:] if argv is None else argv)
    with StopOnSignal() as stop:
        while True:
            cli = build(arguments, stop)
            try:
                with reported(cli.run), cli.run:
                    _train(cli)
                return cli
            except torch.OutOfMemoryError as error:
                arguments = with_smaller_batches(given, cli.run, cli.config, cli.trainer.world_size, error)
            del cli
            release_memory()


def _train(cli: FitCLI) -> None:
    try:
        if cli.trainer.is_global_zero:
            show_resolved(cli.config, cli.composition, cli.model)
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.run.checkpoint, weights_only=True)
        finish(cli.run, cli.trainer)
    except (SetupError, UserCodeError, CheckpointError) as error:
        give_up(error, how_to_go_on(cli.run))
    except Stopped:
        kill_launched(cli.trainer)
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, RuntimeError) and "loading state_dict" in str(error):
            reasons = [line.strip() for line in str(error).splitlines()[1:3]]
            give_up(CheckpointError(f"{cli.run.checkpoint} does not fit the model. {' '.join(reasons)}"))
        account = _of_users_part(cli, error)
        if account is None:
            raise
        give_up(account, how_to_go_on(cli.run))


def _of_users_part(cli: FitCLI, error: BaseException) -> UserCodeError | None:
    """The account of an error in a class of the user; ``None`` where it is ours or is dealt with elsewhere."""
    if isinstance(error, torch.OutOfMemoryError) or (isinstance(error, OSError) and concerns(error, cli.run.path)):
        return None
    module, data = cli.model, cli.datamodule
    parts = (module.objective, module.teacher, module.context, module.contrast, data.task, data.verifier, data.engine)
    return in_user_code(error, parts)


def quiet_libraries() -> None:
    """Show this project's messages and hide other libraries' tips; what they raise still shows."""
    from rich.logging import RichHandler
    from transformers.utils import logging as transformers_logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    own = logging.getLogger("rlsd_pl")
    if not own.handlers:
        own.addHandler(RichHandler(show_path=False, show_time=False, markup=False))
        own.setLevel(logging.INFO)
        own.propagate = False
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "torch.distributed", "jsonargparse"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning|torch|transformers|jsonargparse|peft|multiprocessing")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
