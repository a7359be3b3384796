"""The report: what it finds in folders, what it says of them, and a page that works by itself."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd_pl.commands.main import main
from rlsd_pl.commands.report.charts import chart, ticks
from rlsd_pl.commands.report.checks import warnings
from rlsd_pl.commands.report.command import PAGE
from rlsd_pl.commands.report.commands import commands
from rlsd_pl.commands.report.costs import settings
from rlsd_pl.commands.report.load import Run, find, flattened
from rlsd_pl.commands.report.panels import Line, Panel, all_panels
from rlsd_pl.commands.report.study import Study
from rlsd_pl.commands.report.tables import all_tables
from rlsd_pl.persistence.lock import RunLock

HOSTILE = "</script><script>document.title='taken'</script><b>&\x1b"

CLASSES = {"rlvr": "rlsd_pl.objectives.RLVR", "rlsd": "rlsd_pl.objectives.RLSD", "oracle": "rlsd_pl.lab.OracleCredit"}

START, FINAL = 0.5, {"rlvr": (0.7, 0.8, 0.75), "rlsd": (0.75, 0.85, 0.8), "oracle": (0.9, 1.0, 0.95)}
"""Accuracy before training and, by objective and seed, after 20 iterations; straight lines between."""


def write_run(folder: Path, objective: str, seed: int, end: float, **options: Any) -> Path:
    """What a run leaves, with a straight line of accuracies from START to ``end``.

    Options: ``planned`` and ``done`` iterations, ``config`` and ``data`` to differ in, ``val`` for evaluations.
    """
    planned, done = options.get("planned", 20), options.get("done", options.get("planned", 20))
    (folder / "csv" / "version_0").mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": planned, "check_val_every_n_epoch": 10},
        "objective": {"class_path": CLASSES[objective], "init_args": {"floor": 0.0} if objective == "oracle" else {}},
        "data": {"prompts_per_rollout": 4, "group_size": 2, "val_problems": 16},
        "model": {"name_or_path": "lab"},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
    }
    for key, value in options.get("config", {}).items():
        *path, last = key.split(".")
        inner: Any = config
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "data.json").write_text(json.dumps({"train": {"problems": 9, "blake2b": options.get("data", "x")}}))
    rows = []
    for i in range(done + 1):
        height = START + (end - START) * i / planned
        if i % 10 == 0 and options.get("val", True):
            accuracies = dict.fromkeys(("val/sampled_accuracy", "val/greedy_accuracy", "val/pass_at_1"), height)
            rows.append({"step": i, **accuracies, "val/pass_at_2": (1 + height) / 2, "leakage/hollow_rate": 0.01 * i})
        if i:
            rows.append({"step": i, "rollout/reward": height, "rollout/length": 10 + seed, "train/entropy": 0.5})
            rows[-1] |= {"perf/generated_tokens": 80, "perf/scored_completions": 16, "perf/rollout_seconds": 2}
        if i == 1:
            rows[-1] |= {"rollout/reward": options.get("first", 0.25)}
    with (folder / "csv" / "version_0" / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    if done == planned:
        (folder / "finished.json").write_text(json.dumps({"iterations": planned}))
    records = [
        {"iteration": i, "problem": "p/1", "prompt": HOSTILE, "completion": "ab", "tokens": ["a", HOSTILE],
         "reward": 1.0, "status": "pass", "detail": "", "answer": "b", "reference_answer": "b", "truncated": False,
         "advantage": 1.0, "token_advantages": [0.5, -1.0], "evidence": [0.25, -2.0]}
        for i in (1, done)
    ]  # fmt: skip
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def write_sweep(folder: Path, seeds: Sequence[int] = (0, 1, 2), **options: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text('{"flags": ["--trainer.max_epochs", "20"]}')
    for name, ends in FINAL.items():
        for seed in seeds:
            write_run(folder / name / f"seed-{seed}", name, seed, ends[seed], **options)
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("report") / "sweep")


@pytest.fixture(scope="module")
def report(sweep: Path) -> Path:
    folder = sweep.parent / "report"
    assert main(["report", str(sweep), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return (report / PAGE).read_text()


def study_of(*folders: Path, baseline: str | None = "rlvr", ceiling: str | None = "oracle") -> Study:
    return Study(find([str(folder) for folder in folders]), baseline, ceiling, "val/sampled_accuracy")


def rows(study: Study, title: str) -> dict[str, list[str]]:
    table = next(table for table in all_tables(study) if table.title == title)
    return {row.cells[0]: list(row.cells[1:]) for row in table.rows}


# --- figures ----------------------------------------------------------------------------------------------------------


def test_final_values_and_paired_differences(sweep: Path) -> None:
    """By hand: the spread of .7, .8, .75 has s = .05; each seed of RLSD is .05 above RLVR's, so without a width."""
    found = rows(study_of(sweep), "Final sampled accuracy")
    assert list(found) == ["rlvr", "rlsd", "oracle"]
    assert found["rlvr"] == ["3", f"0.750 ± {4.302653 * 0.05 / math.sqrt(3):.3f}", "", "", ""]
    # RLSD is above RLVR in 6 of 9 pairs and level with it in two
    assert found["rlsd"][2:] == ["+0.050 ± 0.000", "3", f"{(6 + 1) / 9:.2f}"]
    assert found["oracle"][2:] == ["+0.200 ± 0.000", "3", "1.00"]


def test_areas_of_straight_lines_lie_half_way(sweep: Path) -> None:
    assert rows(study_of(sweep), "Area under the curve: greedy accuracy")["rlsd"][1].startswith("0.650 ±")


def test_iterations_to_target_and_share_of_the_ceiling(sweep: Path) -> None:
    """RLVR gains .25 on average, so the target is .725; a line that ends at e crosses it after 20 * .225 / (e - .5)."""
    times = {name: [20 * 0.225 / (end - 0.5) for end in ends] for name, ends in FINAL.items()}
    found = rows(study_of(sweep), "Iterations to target")
    assert found["rlvr"][0] == f"2 of 3 runs by iteration 20, those after {sum(times['rlvr'][1:]) / 2:.1f}"  # .7 < .725
    assert found["rlsd"][0] == f"{sum(times['rlsd']) / 3:.1f}"
    assert found["oracle"][0] == f"{sum(times['oracle']) / 3:.1f}"
    pairs = zip((20, *times["rlvr"][1:]), times["oracle"], strict=True)
    bound = math.exp(sum(math.log(base / own) for base, own in pairs) / 3)
    assert found["oracle"][1] == f"at least {bound:.2f}"
    shares = rows(study_of(sweep), "Share of the ceiling")["rlsd"]
    assert shares == ["0.25 [0.25, 0.25]", "0.25 [0.25, 0.25]", "undefined: a run does not reach the target"]


def test_a_target_that_all_reach_has_a_ratio_and_a_share(sweep: Path) -> None:
    study = Study(find([str(sweep)]), "rlvr", "oracle", "val/sampled_accuracy", 0.6)
    logs = [math.log((new - 0.5) / (base - 0.5)) for base, new in zip(FINAL["rlvr"], FINAL["rlsd"], strict=True)]
    assert rows(study, "Iterations to target")["rlsd"][1].startswith(f"{math.exp(sum(logs) / 3):.2f} [")
    assert re.fullmatch(r"0\.\d\d \[0\.\d\d, 0\.\d\d\]", rows(study, "Share of the ceiling")["rlsd"][2])


def test_costs_are_sums_over_iterations(sweep: Path) -> None:
    table = next(table for table in all_tables(study_of(sweep)) if table.title == "Cost")
    assert table.rows[0].cells == ["rlvr", "0", "20", "1,600", "320", "40"]
    assert len(table.rows) == 9


def test_means_are_where_every_run_has_a_value_and_unfinished_ones_are_in_none(tmp_path: Path) -> None:
    write_run(tmp_path / "rlvr" / "seed-0", "rlvr", 0, 0.7)
    write_run(tmp_path / "rlvr" / "seed-1", "rlvr", 1, 0.9)
    write_run(tmp_path / "rlvr" / "seed-2", "rlvr", 2, 0.0, done=10)
    panel = next(panel for panel in all_panels(study_of(tmp_path)) if panel.key == "val/sampled_accuracy")
    assert [(line.seed, len(line.points)) for line in panel.lines] == [(0, 3), (1, 3), (2, 2), (None, 3)]
    assert panel.lines[-1].points == [(0, 0.5), (10, pytest.approx(0.65)), (20, pytest.approx(0.8))]
    assert panel.bands[0].points[-1] == (20, pytest.approx(0.7), pytest.approx(0.9))
    assert rows(study_of(tmp_path), "Final sampled accuracy")["rlvr"][0] == "2"


def test_a_value_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "rlvr" / "seed-0", "rlvr", 0, 0.75)
    broken = write_run(tmp_path / "rlsd" / "seed-0", "rlsd", 0, 0.75)
    path = broken / "csv" / "version_0" / "metrics.csv"
    table = list(csv.DictReader(path.read_text().splitlines()))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(
            {key: "nan" if value and "accuracy" in key else value for key, value in row.items()} for row in table
        )
    study = study_of(run, broken, ceiling=None)
    assert list(rows(study, "Final greedy accuracy")) == ["rlvr"]
    assert list(rows(study, "Iterations to target")) == ["rlvr"]
    assert all("nan" not in line.points for panel in map(chart, all_panels(study)) if panel for line in panel.lines)


def test_settings_that_differ_are_listed_and_no_others(tmp_path: Path) -> None:
    write_run(tmp_path / "rlvr" / "seed-0", "rlvr", 0, 0.7)
    write_run(tmp_path / "rlsd" / "seed-3", "rlsd", 3, 0.7, config={"optimizer.init_args.lr": 2e-4})
    assert [row.cells for row in settings(study_of(tmp_path)).rows] == [
        ["objective", CLASSES["rlvr"], CLASSES["rlsd"]],
        ["optimizer.lr", "0.0001", "0.0002"],
    ]


# --- what is found ----------------------------------------------------------------------------------------------------


def test_runs_are_named_after_their_sweep_or_their_preset(sweep: Path, tmp_path: Path) -> None:
    assert {(run.objective, run.seed) for run in find([str(sweep)])} == {(o, s) for o in FINAL for s in range(3)}
    alone = write_run(tmp_path / "2026-01-01-rlvr", "rlvr", 4, 0.7)
    assert [(run.objective, run.seed) for run in find([str(alone), str(tmp_path)])] == [("rlvr", 4)]  # once
    grid = write_run(tmp_path / "grid" / "rlsd" / "lr=1e-4" / "seed-1", "rlsd", 1, 0.7)
    (tmp_path / "grid" / "sweep.json").write_text('{"flags": []}')
    assert find([str(grid)])[0].objective == "rlsd lr=1e-4"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"flags": ["--x", "1"]}, "rlsd-pl sweep --objectives oracle,rlsd,rlvr --seeds 0,1,2 --x 1"),
        (
            {"flags": [], "argv": ["--seeds", "0", "--grid.x", "1,'2'"]},
            """rlsd-pl sweep --seeds 0 --grid.x '1,'"'"'2'"'"''""",
        ),
    ],
    ids=["by its runs", "as it was called"],
)
def test_the_command_of_a_sweep(sweep: Path, tmp_path: Path, record: dict, expected: str) -> None:
    folder = shutil.copytree(sweep, tmp_path / "sweep")
    (folder / "sweep.json").write_text(json.dumps(record))
    study = Study(find([str(folder)]), "rlvr", "oracle", "val/sampled_accuracy")
    assert dict(commands(study, []))[f"The sweep in {folder}"] == [expected]


def test_runs_of_one_name_that_differ_are_told_apart(tmp_path: Path) -> None:
    for place, rate in enumerate((1e-4, 1e-4, 3e-4)):
        config = {"optimizer.init_args.lr": rate, "data.micro_batch_size": place}  # the latter makes no other objective
        write_run(tmp_path / str(place), "rlvr", place, 0.7, config=config)
    assert [run.objective for run in find([str(tmp_path)])] == [
        *("rlvr, optimizer.lr 0.0001", "rlvr, optimizer.lr 0.0001", "rlvr, optimizer.lr 0.0003"),
    ]
    write_run(tmp_path / "other", "rlvr", 5, 0.7, config={"a": 1, "b": 2, "c": 3})
    assert [run.objective for run in find([str(tmp_path)])] == ["rlvr (1)", "rlvr (1)", "rlvr (2)", "rlvr (3)"]


def test_flattening_names_settings_as_flags_do() -> None:
    config = {"a": {"class_path": "x.Y", "init_args": {"b": {"c": 1}, "d": [1, {"e": 2}]}}, "f": {}}
    assert flattened(config) == {"a": "x.Y", "a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{tmp}/nothing"], "nothing, which is no folder"),
        (["{tmp}/empty"], "empty holds no run"),
        (["{sweep}", "--baseline", "grpo"], "Got --baseline 'grpo'; expected one of: "),
        (["{sweep}", "--ceiling", "top"], "Got --ceiling 'top'"),
        (["{sweep}", "--key", "val/x"], "Got --key 'val/x'; expected a series that was logged: leakage/hollow_rate, "),
        (["{sweep}", "--target", "high"], "--target"),
        (["{sweep}", "-o", "{tmp}/file"], "file, which is a file; expected a folder"),
        ([], "RUN_OR_SWEEP"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    arguments: list[str], complaint: str, sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    given = [argument.format(tmp=tmp_path, sweep=sweep) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(["report", *given, *([] if "-o" in given else ["-o", str(tmp_path / "out")])])
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_that_has_logged_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = write_run(tmp_path / "run", "rlvr", 0, 0.7)
    shutil.rmtree(run / "csv")
    with pytest.raises(SystemExit):
        main(["report", str(run), "-o", str(tmp_path / "out")])
    assert "has logged anything" in capsys.readouterr().err


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is about the page alone."""
    monkeypatch.setattr("rlsd_pl.commands.report.figures.write_figures", lambda *_: None)


@pytest.mark.usefixtures("no_figures")
def test_one_run_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = write_run(tmp_path / "run", "rlsd", 0, 0.7)
    assert main(["report", str(run), "-o", str(tmp_path / "out")]) == 0
    assert "One seed only, so no interval: rlsd" in capsys.readouterr().out
    check_well_formed((tmp_path / "out" / PAGE).read_text())


# --- what stands against a comparison ---------------------------------------------------------------------------------


def told(*folders: Path, baseline: str | None = "rlvr") -> str:
    return "\n".join(warnings(find([str(folder) for folder in folders]), baseline))


def test_a_fair_sweep_has_no_warning(sweep: Path) -> None:
    assert told(sweep) == ""


CASES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "data": ({"data": "y"}, "Not a fair comparison: these runs were trained or evaluated on different data"),
    "budget": (
        {"config": {"data.group_size": 8}},
        "different rollout budgets: data.group_size is 2 in rlvr, 8 in rlsd",
    ),
    "iterations": ({"planned": 30}, "different rollout budgets: trainer.max_epochs is 20 in rlvr, 30 in rlsd"),
    "evaluation": ({"config": {"data.val_problems": 4}}, "different evaluations: data.val_problems is 16 in rlvr"),
    "model": ({"config": {"model.name_or_path": "big"}}, "different models: model.name_or_path is lab in rlvr"),
    "first rollout": ({"first": 0.75}, "Seed 0: the rollouts of iteration 1 are not the same"),
    "unfinished": ({"done": 10}, "Unfinished: rlsd, seed 0 is at iteration 10 of 20. Its curves are drawn"),
    "seeds": ({"seed": 7}, "rlsd and rlvr have no common seed, so no difference can be paired"),
    "absent": ({"seed": 7}, "rlvr has no run on seed 7."),
    "evaluations": (
        {"val": False},
        "rlsd (seed 0) did not log val/greedy_accuracy, val/pass_at_1, val/pass_at_2, val/sampled_accuracy, ",
    ),
    "no final one": ({"val": False}, "rlsd (seed 0): no evaluation after the last iteration"),
    "one": ({}, "One seed only, so no interval: rlvr, rlsd"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_makes_a_comparison_unfair_is_said(case: str, tmp_path: Path) -> None:
    options, expected = CASES[case]
    options = dict(options)
    seed = options.pop("seed", 0)
    rlvr = write_run(tmp_path / "rlvr" / "seed-0", "rlvr", 0, 0.7)
    rlsd = write_run(tmp_path / "rlsd" / f"seed-{seed}", "rlsd", seed, 0.8, **options)
    assert expected in told(rlvr, rlsd)


def test_further_warnings(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"a{i}" / "rlvr" / "seed-0", "rlvr", 0, 0.7 + i / 10) for i in range(2)]
    assert f"rlvr is there 2 times on seed 0; the one in {folders[1]} counts" in told(*folders)
    assert rows(study_of(*folders), "Final sampled accuracy")["rlvr"][1] == "0.800"
    other = write_run(tmp_path / "rlsd" / "seed-0", "rlsd", 0, 0.7)
    more = write_run(tmp_path / "rlsd" / "seed-1", "rlsd", 1, 0.7)
    some = told(folders[0], other, more)
    assert "rlsd: seeds 0, 1, and rlvr 0; differences are of the common ones alone, 0." in some
    assert "set --baseline to one of rlvr, rlsd" in told(folders[0], other, baseline=None)
    (other / "data.json").unlink()
    assert "rlsd (seed 0): no fingerprint of the data was recorded" in told(folders[0], other)
    (more / "finished.json").unlink()
    with RunLock(more):
        assert "rlsd, seed 1 is at iteration 20 of 20, still being written" in told(folders[0], more)


# --- the page ---------------------------------------------------------------------------------------------------------

VOID = {"meta", "input", "br", "line", "polyline", "polygon"}


class Tree(HTMLParser):
    """Notes elements, ids and references; refuses tags that close nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_well_formed(text: str) -> Tree:
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert tree.open == []
    return tree


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    tree = check_well_formed(page)
    references = [attrs[name] for _, attrs in tree.elements for name in ("src", "href", "xlink:href") if name in attrs]
    assert references
    assert all(reference is not None and reference.startswith("#") for reference in references)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest", page)
    ids = [attrs["id"] for _, attrs in tree.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert {reference.removeprefix("#") for reference in references if reference} <= set(ids)
    assert sum(tag == "script" for tag, _ in tree.elements) == 1  # that of a completion is text
    assert "\x1b" not in page


def test_every_mark_says_whose_it_is(page: str) -> None:
    tree = check_well_formed(page)
    marks = [attrs for tag, attrs in tree.elements if tag in ("polyline", "polygon") and "aria" not in str(attrs)]
    named = [attrs for attrs in marks if attrs.get("points") != "1,5 29,5"]  # those of the legend are not data
    assert len(named) > 50
    assert {attrs["data-objective"] for attrs in named} == set(FINAL)
    assert {attrs["data-seed"] for attrs in named} == {"0", "1", "2", "all"}
    boxes = {attrs["value"] for tag, attrs in tree.elements if tag == "input"}
    assert boxes == {*FINAL, "0", "1", "2"}


def test_the_page_holds_all_its_parts(page: str, report: Path) -> None:
    sections = ["Learning curves", "Length and entropy", "Leakage", "pass@k", "Share of the ceiling", "Cost", "Credit"]
    details = ["leakage/hollow_rate", "rlsd-pl sweep --objectives", "Settings that differ", "evidence -2"]
    for part in sections + details:
        assert part in page
    assert 'id="warnings"' not in page
    assert (report / "figures" / "learning-curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<text" in (report / "figures" / "learning-curves.svg").read_text()  # text stays text
    with (report / "figures" / "val-sampled_accuracy.csv").open() as file:
        points = list(csv.reader(file))
    assert points[0] == ["objective", "seed", "iteration", "val/sampled_accuracy"]
    assert ["rlvr", "0", "20", "0.7"] in points
    assert {row[1] for row in points[1:]} == {"0", "1", "2", "mean", "low", "high"}
    with (report / "final-sampled-accuracy.csv").open() as file:
        (rlsd,) = [row for row in csv.DictReader(file) if row["objective"] == "rlsd"]
    assert float(rlsd["difference"]) == pytest.approx(0.05)
    assert (rlsd["common_seeds"], rlsd["n"]) == ("3", "3")


@pytest.mark.usefixtures("no_figures")
def test_warnings_stand_at_the_top(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", seeds=[0])
    assert main(["report", str(sweep), "-o", str(tmp_path / "out"), "--title", "a < b"]) == 0
    text = (tmp_path / "out" / PAGE).read_text()
    assert text.index("One seed only") < text.index('id="learning-curves"')
    assert "<h1>a &lt; b</h1>" in text


@pytest.mark.parametrize(("low", "high"), [(0.48, 0.86), (0, 0), (-0.3, 12), (0, 1), (65.9, 66.1), (1, 20)])
def test_ticks_are_round_and_hold_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert len(steps) == 1
    assert not (low >= 0 and found[0] < 0)


def test_a_panel_without_points_is_no_chart() -> None:
    assert chart(Panel("a", "a", "a", [Line("rlvr", 0, [])], [], True)) is None


# --- its script -------------------------------------------------------------------------------------------------------

HARNESS = """
const vm = require("vm"), fs = require("fs");
const mark = (dataset) => ({
  dataset, off: false, classList: { toggle(name, on) { if (name === "off") this.owner.off = on; } },
});
const marks = [{objective: "rlvr", seed: "0"}, {objective: "rlvr", seed: "all"}, {objective: "rlsd", seed: "1"},
               {objective: "rlsd"}, {seed: "1"}].map(mark);
for (const each of marks) each.classList.owner = each;
const box = (filter, value) => (
  { dataset: { filter }, value, checked: true, addEventListener(_, f) { this.change = f; } });
const boxes = [box("objective", "rlvr"), box("objective", "rlsd"), box("seed", "0"), box("seed", "1")];
let some = false;
const document = {
  querySelectorAll: (selector) => selector.startsWith("input") ? boxes : selector === "svg.chart" ? [] : marks,
  body: { classList: { toggle: (_, on) => { some = on; } } },
};
const context = vm.createContext({ document, Set, Math, Number });
vm.runInContext(fs.readFileSync(process.argv[2], "utf8"), context);
const states = [];
const note = () => states.push([marks.map((each) => !each.off), some]);
note();
boxes[0].checked = false; boxes[0].change(); note();
boxes[0].checked = true; boxes[2].checked = false; boxes[2].change(); note();
const point = context.read("46.0,190.00 198.0,99.00 350.0,8.00", 190, [46, 350, 190, 8], [0, 20, 0.5, 1]);
console.log(JSON.stringify({ states, point: [...point] }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_filters_and_reads_values_off(tmp_path: Path) -> None:
    (tmp_path / "harness.js").write_text(HARNESS)
    script = Path(__file__).resolve().parents[1] / "rlsd_pl" / "commands" / "report" / "page.js"
    done = subprocess.run(["node", tmp_path / "harness.js", script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["states"] == [
        [[True] * 5, False],
        [[False, False, True, True, True], False],  # without rlvr
        [[False, False, True, True, True], True],  # without seed 0: its line, and the mean of all seeds
    ]
    assert found["point"] == [pytest.approx(10.0), pytest.approx(0.75)]


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PROBE = """<script>
const hidden = (element) => getComputedStyle(element).display === "none";
const shown = (selector) => [...document.querySelectorAll(selector)].filter((element) => !hidden(element));
const count = () => ["rlvr", "rlsd"].map((name) => shown(`polyline[data-objective=${name}]`).length);
const seen = [count()];
const click = (value) => document.querySelector(`input[value='${value}']`).click();
click("rlvr"); seen.push(count());
click("rlvr"); click("0"); seen.push(count());
click("0"); seen.push(count());
const svg = document.querySelector("svg.chart"), box = svg.getBoundingClientRect();
svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 20, clientY: box.top + 50 }));
document.title = JSON.stringify({ seen, errors, loaded: performance.getEntriesByType("resource").length,
  said: svg.parentElement.querySelector("output").textContent,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth });
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser_it_opens_filters_and_tells_values(width: int, page: str, tmp_path: Path) -> None:
    noted = page.replace(
        "<head>", "<head><script>const errors = []; onerror = (text) => { errors.push(text); };</script>", 1
    )
    (tmp_path / "page.html").write_text(noted.replace("</body>", PROBE))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [str(CHROMIUM), *flags, f"--window-size={width},900", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    found = json.loads(title.group(1).replace("&amp;", "&"))
    (rlvr, rlsd), without_rlvr, without_seed, again = found["seen"]
    assert without_rlvr == [0, rlsd]
    assert without_seed == [rlvr // 2, rlsd // 2]  # of three runs and their mean, two runs are left
    assert again == [rlvr, rlsd]
    assert (found["errors"], found["loaded"], found["wide"]) == ([], 0, 0)
    assert found["said"] == "iteration 20: rlvr 0.750, rlsd 0.800, oracle 0.950"


def test_a_run_that_says_nothing_of_its_seed_has_that_of_its_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "rlvr" / "seed-6", "rlvr", 6, 0.7, config={"seed_everything": True})
    assert Run.read(folder).seed == 6
