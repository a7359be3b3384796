"""``rlsd-pl make-privileged``: parts by the presets and flags of ``fit.py``, then row by row."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import track

from rlsd_pl.commands.cli import PartsCLI, quiet_libraries
from rlsd_pl.commands.parser import mistakes_told
from rlsd_pl.commands.presets import expand
from rlsd_pl.commands.privileged.build import Builder, Record
from rlsd_pl.commands.privileged.documents import Documents
from rlsd_pl.commands.privileged.report import Coverage, stands_in
from rlsd_pl.commands.privileged.solver_source import SolverSource
from rlsd_pl.commands.privileged.sources import EndpointSource, EngineSource, Source
from rlsd_pl.errors import SetupError
from rlsd_pl.rollout.sampler import derive_seed
from rlsd_pl.tasks.base import Task
from rlsd_pl.tasks.table import TableTask


def make_privileged(argv: Sequence[str]) -> Coverage:
    """Build or go on building the table, report; exits with one line on a mistake."""
    quiet_libraries()
    options, flags = _parser().parse_known_args(list(argv))
    with mistakes_told():
        quiet = ["--trainer.callbacks", "[]", "--trainer.logger", "false", "--trainer.enable_checkpointing", "false"]
        cli = PartsCLI(expand(["--objective", "rlvr", *flags, *quiet]))
        task = cli.datamodule.task
        if task.size("train") is None and options.limit is None:
            raise SetupError(f"{type(task).__name__} has no end; set --limit to the number of problems.")
        builder = Builder(task, options.output, options.column or _column(task))
        if options.documents:
            _attach(builder, Documents(options.documents, options.retrieved), options.limit)
        else:
            _solve(builder, cli, _source(options, cli), options)
    coverage = builder.coverage()
    console = Console(highlight=False, soft_wrap=True)
    coverage.show(console)
    coverage.write(options.output.with_suffix(".report.json"))
    told = "" if isinstance(task, TableTask) else "--task jsonl --task.prompt_column question "
    console.print(f"Written to {options.output}. Train with {told}--task.path {options.output} --context solution "
                  f"--context.field {builder.column}")  # fmt: skip
    return coverage


def main(argv: Sequence[str]) -> None:
    """Build."""
    make_privileged(argv)


def _solve(builder: Builder, cli: PartsCLI, source: Source, options: argparse.Namespace) -> None:
    verifier = cli.datamodule.verifier
    missing = list(islice(builder.missing(), options.limit))
    try:
        for start in track(range(0, len(missing), options.batch), "problems", transient=True):
            batch = missing[start : start + options.batch]
            # Seeded by the problem and not by its place, which a resumed build counts anew.
            builder.solve(batch, source, verifier, derive_seed(cli.datamodule.seed, "privileged", batch[0][0].id))
    finally:
        verifier.close()
        source.close()


def _attach(builder: Builder, documents: Documents, limit: int | None) -> None:
    for problem, row in islice(builder.missing(), limit):
        builder.append(row, documents.attached(row), Record(problem.id, {}, stands_in(problem)))


def _column(task: Task) -> str:
    return "reference" if isinstance(task, TableTask) else "solution"


def _source(options: argparse.Namespace, cli: PartsCLI) -> Source:
    data = cli.datamodule
    if options.source == "sympy":
        return SolverSource(data.verifier)
    if options.endpoint:
        key = os.environ.get(options.key_variable)
        return EndpointSource(options.endpoint, options.endpoint_model, data.sampling, key)
    policy = cli.model.load_policy().to(cli.trainer.strategy.root_device)
    return EngineSource(policy, data.engine, data.sampling)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--column")
    parser.add_argument("--source", choices=["sympy"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--endpoint")
    parser.add_argument("--endpoint_model", default="default")
    parser.add_argument("--key_variable", default="OPENAI_API_KEY")
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--retrieved", default="documents")
    return parser
