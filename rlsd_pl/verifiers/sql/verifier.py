"""Text-to-SQL: the prediction's result against the reference's, on the real database and on perturbed copies."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.code.blocks import LanguageBlock
from rlsd_pl.verifiers.code.verdicts import guarded
from rlsd_pl.verifiers.extraction import Extracted, ExtractionRule
from rlsd_pl.verifiers.sandbox import Job, Level, Limits, open_sandbox, run_jobs
from rlsd_pl.verifiers.sql.compare import Columns, shared_rows
from rlsd_pl.verifiers.sql.perturb import perturb
from rlsd_pl.verifiers.sql.reference import Expected, Query, QueryLimits, RowOrder, Table, expect, run_queries
from rlsd_pl.verifiers.sql.screen import only_statement, order_is_chance, refuse_query
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, passed, refusal

COPIES = 2
"""Perturbed copies on which a prediction is compared."""
MAX_COPIES = 6
"""Copies, each bolder than the last, that are tried until a reference has other rows on :data:`COPIES` of them."""
MOST_FOR_WRONG = 0.9
"""Partial credit ends here: a query whose rows are right but not their order is still worth less than a right one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference query's results.

    Attributes:
        real: on the database of the problem.
        copies: on perturbed copies, by their number; fewer than :data:`COPIES` where the reference is ambiguous on the
            others (ties at a LIMIT).
    """

    real: Expected
    copies: Mapping[int, Expected]


class SQLVerifier(Verifier):
    """Executes SQLite queries and compares results; docs/verifiers-sandbox.md has keys, comparison and reasons.

    ``problem.answer`` is the reference query and ``metadata['database']`` the path of its SQLite file, which must not
    change while the verifier lives. The reference runs once; its results never enter the process of a prediction.

    Args:
        rule: where the query stands in the completion.
        order: whether the order of rows counts.
        columns: whether the order of columns counts.
        query_limits: what one query may use.
        minimum_level: weakest isolation to accept; raises :class:`SandboxUnavailableError` if this machine has less.
        concurrency: queries at a time, by default one for each CPU.
        seed: of the perturbed copies.
        partial_credit: whether a query with wrong rows earns their F1 (2 * shared rows / rows of both results), the
            least of all databases, at most :data:`MOST_FOR_WRONG`. It can be gamed: where the reference keeps most
            rows of a table, the query without its filter earns nearly all of it. Status and detail stay those of
            a wrong query; watch the pass rate beside the reward.
    """

    metric_names = ("sandbox_level", "databases")

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        order: RowOrder = RowOrder.REFERENCE,
        columns: Columns = Columns.IN_ORDER,
        query_limits: QueryLimits | None = None,
        minimum_level: Level = Level.L2,
        concurrency: int | None = None,
        seed: int = 0,
        partial_credit: bool = False,
    ) -> None:
        self.rule = rule or LanguageBlock("sql")
        self.instruction = self.rule.instruction
        self.order, self.columns, self.seed = order, columns, seed
        self.partial_credit = partial_credit
        self.query_limits = query_limits or QueryLimits()
        seconds = (2 + COPIES) * self.query_limits.seconds
        limits = Limits(
            cpu_seconds=math.ceil(seconds) + 1,
            wall_seconds=seconds + 2.0,
            output_bytes=8 * self.query_limits.max_bytes,
        )
        self.sandbox = open_sandbox(minimum_level, limits)
        self.concurrency = concurrency or os.cpu_count() or 1
        self._references: dict[tuple[str, str], Reference | str] = {}
        self._copies = _PerturbedCopies(seed)

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """One verdict for each text; ``metrics`` hold ``sandbox_level`` and, where it ran, ``databases``."""
        self._prepare(problems)
        found = [self.rule.extract(text) for text in texts]
        keys = [(answer, _identity(problem)) for answer, problem in zip(found, problems, strict=True)]
        different = dict(zip(keys, problems, strict=True))  # equal queries run once
        jobs = [guarded(self._judge(answer, problem)) for (answer, _), problem in different.items()]
        judged = dict(zip(different, run_jobs(jobs, self.sandbox, self.concurrency), strict=True))
        level = {"sandbox_level": float(self.sandbox.level)}
        return [
            replace(
                judged[key], metrics={**level, **judged[key].metrics}, answer=key[0].answer and key[0].answer.strip()
            )
            for key in keys
        ]

    def check(self, problem: Problem) -> str | None:
        """The reference must run, return rows (unless ``metadata['allow_empty']``) and depend on nothing hidden."""
        return self.check_all([problem])[0]

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """:meth:`check` of many problems, side by side."""
        self._prepare(problems)
        found = [self._reference(problem) for problem in problems]
        return [reference if isinstance(reference, str) else None for reference in found]

    def close(self) -> None:
        """Delete the perturbed copies and forget the references."""
        self._references.clear()
        self._copies.delete()

    def _prepare(self, problems: Sequence[Problem]) -> None:
        """Run the references that were not run yet, without a limit for all of them together."""
        new = {_identity(problem): problem for problem in problems}
        new = {key: problem for key, problem in new.items() if key not in self._references}
        patient = replace(self.sandbox, limits=replace(self.sandbox.limits, batch_seconds=math.inf))
        results = run_jobs([self._run_reference(problem) for problem in new.values()], patient, self.concurrency)
        self._references.update(zip(new, results, strict=True))

    def _run_reference(self, problem: Problem) -> Job[Reference | str]:
        query, database = _identity(problem)
        if not database or not Path(database).is_file():
            return f"metadata['database'] is {database!r}; set the path of a SQLite file"
        refused = refuse_query(query)
        if refused is not None:
            return f"the reference query is refused: {refused.detail}"
        if isinstance(first := self._copy(database, 0), str):
            return first
        query = only_statement(query)
        real = yield from expect(query, Path(database), self.order, self.query_limits)
        if isinstance(real, str):
            return real
        usable: dict[int, Expected] = {}
        for number in range(MAX_COPIES):
            if isinstance(copy := self._copy(database, number), str):
                return copy
            result = yield from expect(query, copy, self.order, self.query_limits)
            if isinstance(result, Expected):
                usable[number] = result
            if len(telling := _telling(real, usable)) == COPIES:
                return Reference(real, telling)
        # The others cannot show a constant, but still a filter that the reference does not have.
        rest = sorted(usable, key=lambda number: (number not in telling, usable[number].same_rows(real), number))
        return Reference(real, {number: usable[number] for number in rest[:COPIES]})

    def _copy(self, database: str, number: int) -> Path | str:
        try:
            return self._copies.of(Path(database), number)
        except Exception as error:
            return f"no perturbed copy of {database!r} could be made: {type(error).__name__}: {error}"

    def _reference(self, problem: Problem) -> Reference | str:
        reference = self._references[_identity(problem)]
        if isinstance(reference, Reference) and not reference.real.rows and not problem.metadata.get("allow_empty"):
            return "the reference returns no rows; set metadata['allow_empty'] if that is meant"
        return reference

    def _judge(self, found: Extracted, problem: Problem) -> Job[Verdict]:
        reference = self._reference(problem)
        if isinstance(reference, str):
            return broken("reference", reference)
        if found.missing is not None:
            return refusal(found) or invalid(found.missing)
        query = found.answer or ""
        refused = refuse_query(query)
        if refused is not None:
            return refused
        return (yield from self._judge_query(only_statement(query), reference, Path(problem.metadata["database"])))

    def _judge_query(self, query: str, reference: Reference, database: Path) -> Job[Verdict]:
        """Run it on the database in both directions, and on each copy in one: luck with the order shows in reverse."""
        files = [database, *(self._copies.of(database, number) for number in reference.copies)]
        runs = [Query(query, 0), *(Query(query, file, backwards=file < 2) for file in range(len(files)))]
        expected = [reference.real, reference.real, *reference.copies.values()]
        tables = yield from run_queries(runs, files, self.query_limits)
        codes = ["wrong_result", "wrong_in_reverse", *["wrong_on_perturbed"] * len(reference.copies)]
        for table, wanted, code in zip(tables, expected, codes, strict=True):
            if isinstance(table, Verdict):
                return table
            if not wanted.accepts(table, self.columns):
                wrong = failed(code, f"{len(table.rows)} rows of {len(table.columns)} columns")
                return replace(wrong, reward=self._credit(tables, expected))
        if any(wanted.ordered for wanted in expected) and order_is_chance(query):
            return replace(failed("order_missing"), reward=self._credit(tables, expected))
        return replace(passed("passed"), metrics={"databases": float(len(files))})

    def _credit(self, tables: Sequence[Table | Verdict], expected: Sequence[Expected]) -> float:
        if not self.partial_credit:
            return 0.0
        shares = [
            shared_rows(table.rows, wanted.rows) if isinstance(table, Table) else 0.0
            for table, wanted in zip(tables, expected, strict=True)
        ]
        return min(MOST_FOR_WRONG, *shares)


def _telling(real: Expected, usable: Mapping[int, Expected]) -> dict[int, Expected]:
    """The first copies on which there are rows, and other ones than on the database and the copies before."""
    found: dict[int, Expected] = {}
    for number, result in usable.items():
        if len(found) < COPIES and result.rows and not any(map(result.same_rows, (real, *found.values()))):
            found[number] = result
    return found


class _PerturbedCopies:
    """Perturbed copies of databases, in a private folder that goes with this object."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._paths: dict[tuple[Path, int], Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def of(self, database: Path, number: int) -> Path:
        """The path of a copy, made on first use. Raises sqlite3.Error or OSError."""
        if (database, number) not in self._paths:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="rlsd-sql-")
            target = Path(self._folder.name) / f"{len(self._paths)}.sqlite"
            perturb(database, target, self._seed, number)
            self._paths[database, number] = target
        return self._paths[database, number]

    def delete(self) -> None:
        """Remove all copies."""
        self._paths.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _identity(problem: Problem) -> tuple[str, str]:
    return problem.answer or "", str(problem.metadata.get("database", ""))
