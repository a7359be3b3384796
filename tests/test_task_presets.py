"""Every table preset: its columns are found, its references pass its verifier, and wrong answers do not."""

from __future__ import annotations

import gzip

import pytest
import yaml

from rlsd_pl.commands.parser import MODE, Parser
from rlsd_pl.commands.presets import CONFIGS, available
from rlsd_pl.tasks.base import Task
from rlsd_pl.types import Status
from rlsd_pl.verifiers.base import Verifier
from tests.conftest import REPOSITORY
from tests.tables import ROWS, write_table


def parts(preset: str, path: str) -> tuple[Task, Verifier]:
    config = yaml.safe_load((CONFIGS / "task" / f"{preset}.yaml").read_text())
    config["task"].setdefault("init_args", {}).update(path=path, val_fraction=0.4)
    parser = Parser(parser_mode=MODE)
    parser.add_subclass_arguments(Task, "task")
    parser.add_subclass_arguments(Verifier, "verifier")
    built = parser.instantiate_classes(parser.parse_object({key: config[key] for key in ("task", "verifier")}))
    return built.task, built.verifier


# A right completion for the row of number n of tests/tables.py.
RIGHT = {
    "gsm8k": lambda n: rf"\boxed{{{n + 3}}}",
    "jsonl": lambda n: rf"\boxed{{{n + 3}}}",
    "math": lambda n: rf"\boxed{{{n + 3}}}",
    "word_problems": lambda n: f"{n} + 3 = {n + 3}\n#### {n + 3}",
    "humaneval": lambda n: f"```python\ndef add_{n}(x):\n    return x + {n}\n```",
    "mbpp": lambda n: f"```python\ndef times_{n}(x):\n    return {n} * x\n```",
    "text_to_sql": lambda n: f"```sql\nSELECT square FROM numbers WHERE n = {n}\n```",
    "json_extraction": lambda n: f'{{"age": {n}, "name": "Ida {n}"}}',
    "tool_calls": lambda n: f'<tool_call>{{"name": "wait", "arguments": {{"seconds": {n}}}}}</tool_call>',
}


def test_every_table_preset_is_tested():
    tables = {name for name in available("task") if "TableTask" in (CONFIGS / "task" / f"{name}.yaml").read_text()}
    assert tables == set(ROWS) == set(RIGHT)


@pytest.mark.parametrize("preset", sorted(ROWS))
def test_references_pass_and_the_answers_of_other_rows_do_not(preset, tmp_path):
    task, verifier = parts(preset, str(write_table(preset, tmp_path)))
    try:
        problems = [task.problem("train", index) for index in range(4)]
        assert verifier.check_all(problems) == [None] * 4
        texts = [RIGHT[preset](int(problem.id.rpartition("/")[2]) + 2) for problem in problems]
        assert {v.status for v in verifier.verify(texts, problems)} == {Status.PASS}
        shifted = verifier.verify(texts[1:] + texts[:1], problems)
        assert {v.status for v in shifted} == {Status.FAIL}
    finally:
        verifier.close()
    assert all("canonical_solution" not in p.prompt and "return x +" not in p.prompt for p in problems)


def test_humaneval_as_published_verifies(tmp_path):
    published = REPOSITORY.parent / "shared" / "data" / "humaneval.jsonl.gz"
    if not published.exists():
        pytest.skip("the public data files are not beside the repository")
    rows = gzip.decompress(published.read_bytes()).decode().splitlines()[:12]
    path = tmp_path / "humaneval.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    task, verifier = parts("humaneval", str(path))
    problems = [task.problem(split, i) for split in ("train", "val") for i in range(task.size(split) or 0)]
    assert len(problems) == 12
    assert verifier.check_all(problems) == [None] * 12
