"""Every flag of ``fit`` with values that people may type: taken, or refused in a few lines; never a traceback.

What may be accepted is written in ``fuzz_accepted.txt``, one ``flag value`` a line, so that nonsense that begins to
pass is seen. ``python -m tests.test_fuzz_flags`` lists what is accepted now.
"""

from __future__ import annotations

import copy
import io
import json
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

ACCEPTED = Path(__file__).with_name("fuzz_accepted.txt")
SECONDS = 20.0
"""For one case, on a machine that does other things too."""

PER_FLAG = 2
"""Values for each flag: one that is no number, the others numbers. More of them make a longer search by hand."""

MOST_LINES = 3
NUMBERS = [".nan", ".inf", "-.inf", "-1", "0", "1e30", "1000000000000", "-0.5", "5", "1.5"]
TEXTS = [
    *("", " ", "null", "true", "[]", "{}", "[0-9]", "a: b", "日本語", "{{ x", "../../etc", "--x", "'", "*", "%s"),
    "x" * 3000,
]

PARTS = [
    *("--objective", "rlsd", "--objective.strength", "rlsd_pl.objectives.LinearDecay"),
    *("--objective.surrogate", "rlsd_pl.objectives.PPOClip", "--teacher", "periodic"),
]
BASES = {"lab": PARTS, "table": [*PARTS, "--task", "jsonl", "--context", "solution", "--task.path", "rows.jsonl"]}
LINKED = ("data.seed", "model.optimizer", "model.lr_scheduler", "config")
"""Set through other flags."""

MACHINE = ("trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.num_nodes", "trainer.precision")
"""What may be accepted depends on the machine."""


class Fits:
    """Builds the parts of a run again and again, with one parser."""

    def __init__(self, folder: Path, base: list[str]) -> None:
        from rlsd_pl.commands.cli import build

        cli = build([*base, "--run_dir", str(folder / "run")])
        self.base, self.folder, self.parser = base, folder, cli.parser
        self.config = folder / "resolved.yaml"
        self.config.write_text(self.parser.dump(cli.config, skip_none=False))
        self.settings = list(_leaves(cli.config.as_dict()))
        self.like = cli

    def outcome(self, flag: str, value: str) -> str:
        """``taken``, or what was said; a traceback is what it raises."""
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                self._build([f"--{flag}={value}"])
        except SystemExit as stopped:
            return said.getvalue().strip() if stopped.code == 2 else f"left with status {stopped.code}"
        return "taken"

    def _build(self, arguments: list[str]) -> None:
        """What ``build`` does with one parser and one run folder."""
        from rlsd_pl.commands.cli import PartsCLI
        from rlsd_pl.commands.parser import give_up

        try:
            cli = copy.copy(self.like)
            cli.config = self.parser.parse_args(["--config", str(self.config), *arguments])
            PartsCLI.before_instantiate_classes(cli)
            cli.instantiate_classes()
        except Exception as error:
            give_up(error)


def _leaves(settings: Any, prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        path = prefix if name == "init_args" else f"{prefix}.{name}".lstrip(".")
        if name == "class_path":
            yield prefix
        elif isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path


def cases(fits: Fits, base: str) -> list[tuple[str, str]]:
    """Some values for each flag; they depend on its name alone, so that new flags move no others."""
    flags = sorted({flag for flag in fits.settings if not flag.startswith(LINKED)})
    if base != "lab":
        flags = [flag for flag in flags if flag.startswith(("task", "context", "verifier"))]
    drawn = []
    for flag in flags:
        rng = random.Random(zlib.crc32(flag.encode()))
        drawn += [(flag, value) for value in (*rng.sample(NUMBERS, PER_FLAG - 1), *rng.sample(TEXTS, 1))]
    return drawn


def _is_reason(said: str) -> bool:
    """An error of some lines with more in it than its own name."""
    first, *more = said.splitlines() or [""]
    return first.startswith("error: ") and len(first) > 25 and len(more) < MOST_LINES and "Traceback" not in said


def search(folder: Path) -> tuple[int, list[str], list[str]]:
    """How many cases there were, ``flag value`` of those that were accepted, and what is wrong with others."""
    rows = [{"prompt": f"What is {n} + 3?", "answer": str(n + 3), "solution": f"{n} + 3"} for n in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    count, accepted, wrong = 0, [], []
    for base, flags in BASES.items():
        (folder / base).mkdir()
        fits = Fits(folder / base, [str(folder / flag) if flag == "rows.jsonl" else flag for flag in flags])
        if (said := fits.outcome("data.group_size", "4")) != "taken":
            wrong.append(f"{base}: a sound flag was refused with {said!r:.400}")
        for flag, value in cases(fits, base):
            count += 1
            start = time.perf_counter()
            try:
                said = fits.outcome(flag, value)
            except BaseException as error:
                wrong.append(f"{flag}={value!r:.40} raised {type(error).__name__}: {error}")
                continue
            if said == "taken":
                accepted += [] if flag.startswith(MACHINE) else [f"{flag} {value!r:.40}"]
            elif not _is_reason(said):
                wrong.append(f"{flag}={value!r:.40} was refused with {said!r:.400}")
            if (seconds := time.perf_counter() - start) > SECONDS:
                wrong.append(f"{flag}={value!r:.40} took {seconds:.0f} s")
    return count, sorted(set(accepted)), wrong


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_flag_is_taken_or_refused_in_a_few_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    monkeypatch.chdir(tmp_path)
    count, accepted, wrong = search(tmp_path)
    assert not wrong
    assert count > 200
    allowed = set(ACCEPTED.read_text().splitlines())
    assert not sorted(set(accepted) - allowed), "add to fuzz_accepted.txt what is right"


if __name__ == "__main__":
    sys.argv = ["fit.py"]
    cases_seen, taken, faults = search(Path(tempfile.mkdtemp()))
    print(*sorted(taken), sep="\n")
    print(f"{cases_seen} cases, {len(taken)} accepted, {len(faults)} wrong", *faults, sep="\n", file=sys.stderr)
