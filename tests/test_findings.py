"""The findings: from run folders to CSVs, from CSVs to the tables of docs/results.md."""

from __future__ import annotations

import json
import math

import pytest

from rlsd_pl.commands.findings import methods, signs
from rlsd_pl.commands.findings.cells import of
from rlsd_pl.commands.findings.collect import ACCURACY, CURVES, RUNS, Record, collect, read, thinned, write
from rlsd_pl.commands.findings.command import TABLES, main, with_tables
from tests.conftest import REPOSITORY
from tests.test_report import FINAL, START, write_run, write_sweep

PAGE = REPOSITORY / "docs" / "results.md"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A lab with three objectives on three seeds, and RLSD at another setting in a sweep of its own."""
    root = tmp_path_factory.mktemp("findings")
    write_sweep(root / "lab" / "main")
    other = root / "lab" / "epsilon_w=1"
    other.mkdir()
    (other / "sweep.json").write_text('{"flags": ["--objective.epsilon_w", "1"]}')
    for seed in (0, 1, 2):
        run = write_run(other / "rlsd" / f"seed-{seed}", "rlsd", seed, 0.9)
        (run / "evaluation.json").write_text(
            json.dumps({"metrics": {"pass_at_1": 0.5, "pass_at_8": 0.75, "hollow": 0}})
        )
    write_run(other / "rlsd" / "seed-3", "rlsd", 3, 0.9, planned=20, done=10)  # not finished
    return root


@pytest.fixture(scope="module")
def records(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write(collect(root), folder)
    return read(folder)


def test_finished_runs_are_kept_under_their_methods_names(records):
    methods = ["oracle", "rlsd", "rlvr"]
    places = [("lab", "epsilon_w=1", "rlsd epsilon_w=1", seed) for seed in (0, 1, 2)]
    places += [("lab", "main", method, seed) for method in methods for seed in (0, 1, 2)]
    assert [record.place for record in records] == places


def test_what_the_files_hold_is_what_the_runs_logged(records):
    for record in records:
        end = 0.9 if "=" in record.method else FINAL[record.method][record.seed]
        middle = START + (end - START) / 2
        assert record.history[ACCURACY] == {0: START, 10: pytest.approx(middle, abs=1e-4), 20: pytest.approx(end)}
        assert record.history["train/entropy"] == {10: 0.5, 20: 0.5}
        assert record.figures["tokens generated"] == 20 * 80
        assert record.figures["lr"] == 1e-4
        assert record.figures["group size"] == 2
    assert records[0].figures["pass_at_8"] == 0.75
    assert "hollow" not in records[0].figures


def test_series_of_every_iteration_are_averaged_between_evaluations():
    history = {ACCURACY: {0: 0.5, 2: 0.6, 4: 0.7}, "train/entropy": {1: 1.0, 2: 3.0, 3: 9.0, 5: 99.0}}
    assert thinned(history) == {ACCURACY: {0: 0.5, 2: 0.6, 4: 0.7}, "train/entropy": {2: 2.0, 4: 9.0}}


def test_methods_are_told_against_rlvr_and_the_ceiling(records):
    heads, *rows = methods.methods(of(records, "lab", "main"))
    cells = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    assert list(cells) == ["`oracle`", "`rlsd`", "`rlvr`"]  # the largest area first
    # On every seed RLSD ends .05 above RLVR and the oracle .2, on straight lines from one start.
    assert cells["`rlsd`"]["final - RLVR"] == "+0.050 ± 0.000"
    assert cells["`rlsd`"]["area - RLVR"] == "+0.025 ± 0.000"
    assert cells["`rlsd`"]["share of the ceiling"] == "0.25 [0.25, 0.25]"
    assert cells["`oracle`"]["final - RLVR"] == "+0.200 ± 0.000"
    assert cells["`rlvr`"]["learning rate"] == "0.0001"
    assert cells["`rlvr`"]["share of the ceiling"] == ""


def test_settings_are_told_against_the_baseline_of_the_main_sweep(records):
    own = of(records, "lab", "epsilon_w=1")
    heads, row = methods.methods(own, of(records, "lab", "main"))
    assert row[0] == "`rlsd epsilon_w=1`"
    # .9 on all seeds against .7, .8, .75: mean .15; half-width 4.303 * .05 / sqrt(3).
    assert dict(zip(heads, row, strict=True))["final - RLVR"] == f"+0.150 ± {4.3027 * 0.05 / math.sqrt(3):.3f}"


def test_controls_are_told_against_the_method_itself(records):
    main_sweep = of(records, "lab", "main")
    rlsd = [record for record in main_sweep if record.method == "rlsd"]
    heads, *rows = methods.controls([*rlsd, *of(records, "lab", "epsilon_w=1")], main_sweep)
    cells = {row[0]: row[-1] for row in rows}
    # Areas of RLSD: .625, .675 and .65; of the control .7 on all seeds.
    assert heads[-1] == "area of rlsd - this"
    assert cells == {"`rlsd epsilon_w=1`": f"-0.050 ± {4.3027 * 0.025 / math.sqrt(3):.3f}", "`rlsd`": ""}


def test_group_sizes_are_told_each_against_its_own_rlvr():
    ends = {
        ("main", "rlvr"): 0.7,
        ("main", "rlsd"): 0.8,
        ("group_size=4", "rlvr group_size=4"): 0.6,
        ("group_size=4", "rlsd group_size=4"): 0.9,
    }
    records = [
        Record(
            "lab", part, name, seed, {ACCURACY: {0: 0.5, 10: end}}, {"lr": 0.1, "group size": 4 if "=" in part else 8}
        )
        for (part, name), end in ends.items()
        for seed in (0, 1)
    ]
    heads, *rows = methods.groups(records)
    assert heads[:5] == ["group size", "method", "learning rate", "final", "final - RLVR"]
    assert [row[:5] for row in rows] == [
        ["4", "`rlsd`", "0.1", "0.900 ± 0.000", "+0.300 ± 0.000"],
        ["4", "`rlvr`", "0.1", "0.600 ± 0.000", ""],
        ["8", "`rlsd`", "0.1", "0.800 ± 0.000", "+0.100 ± 0.000"],
        ["8", "`rlvr`", "0.1", "0.700 ± 0.000", ""],
    ]
    page = with_tables("<!-- group sizes of lab -->\n<!-- end of group sizes of lab -->", records)
    assert "| 4 | `rlsd` | 0.1 |" in page
    assert "| 8 | `rlvr` | 0.1 |" in page


def test_confirmed_methods_are_told_on_all_their_seeds():
    ends = {"rlvr": 0.5, "rlsd": 0.7, "gated": 0.9, "rlrt": 0.6}
    records = [
        Record("lab", part, name, seed, {ACCURACY: {0: 0.5, 10: end + 0.1 * (seed == 20)}}, {"lr": 0.1})
        for name, end in ends.items()
        for part, seed in (("main", 0), ("main", 1), (f"confirm-{name}", 20))
        if name != "rlrt" or part == "main"
    ]
    page = with_tables("<!-- all seeds of lab -->\n<!-- end of all seeds of lab -->", records)
    # Straight lines from .5: areas lie half of the difference of the ends apart, on each of three seeds.
    assert page.splitlines()[2:-2] == [
        "| method | seeds | area - RLVR | P(better) | area of rlsd - this |",
        "| --- | --- | --- | --- | --- |",
        "| `gated` | 3 | +0.200 ± 0.000 | 1.00 | -0.100 ± 0.000 |",
        "| `rlsd` | 3 | +0.100 ± 0.000 | 1.00 |  |",
    ]


def test_the_ceiling_says_when_perfect_credit_is_where_rlvr_ends(records):
    _, row = methods.ceiling(records, ("lab", "elsewhere"))
    # RLVR ends at .75 on average. The oracle's lines from .5 to .9, 1 and .95 in 20 iterations are there at
    # 12.5, 10 and 11.11.
    assert row == ["`lab`", "0.750 ± 0.124", "0.950 ± 0.124", "11.2 ± 3.112 (3 seeds)", "20", "1.8"]


def test_pass_at_k_is_told_with_its_difference_from_rlvr():
    values = {"rlvr": (0.5, 0.75), "rlsd": (0.625, 0.625)}
    records = [
        Record("lab", "main", name, seed, {}, {"pass_at_1": one, "pass_at_8": eight, "lr": 1.0})
        for name, (one, eight) in values.items()
        for seed in (0, 1)
    ]
    assert methods.passes(records) == [
        ["method", "pass@1", "pass@8", "pass@1 - RLVR", "pass@8 - RLVR"],
        ["`rlsd`", "0.625 ± 0.000", "0.625 ± 0.000", "+0.125 ± 0.000", "-0.125 ± 0.000"],
        ["`rlvr`", "0.500 ± 0.000", "0.750 ± 0.000", "", ""],
    ]


def test_credit_stands_beside_the_gain():
    auroc, gain = {"rlsd": 0.8, "cepo": 0.6, "rlrt": 0.3}, {"rlvr": 0.0, "rlsd": 0.2, "cepo": 0.1, "rlrt": -0.1}
    records = [
        Record(
            *("lab", "main", name, seed),
            {ACCURACY: {0: 0.5 + more, 10: 0.5 + more}}
            | ({"credit/auroc": {10: auroc[name]}} if name in auroc else {}),
        )
        for name, more in gain.items()
        for seed in (0, 1)
    ]
    _, *rows = signs.credit(records)
    assert [row[0] for row in rows] == ["`rlsd`", "`cepo`", "`rlrt`"]
    assert rows[0][1:] == ["0.800 ± 0.000", "", "+0.200 ± 0.000"]
    assert signs.rank_correlation(records).startswith("Spearman's rank correlation over 3 methods: 1.00")


def test_a_page_gets_its_tables_and_refuses_others(records):
    page = "# r\n<!-- methods of lab -->\n<!-- end of methods of lab -->\nend\n"
    filled = with_tables(page, records)
    assert "| `rlsd` | 0.0001 |" in filled
    assert with_tables(filled, records) == filled
    with pytest.raises(ValueError, match="Got the place 'nothing'; expected one of ceiling"):
        with_tables("<!-- nothing -->", records)


def test_the_command_writes_csvs_page_and_figures(root, tmp_path, capsys):
    page = tmp_path / "results.md"
    page.write_text("<!-- ceiling -->\n<!-- end of ceiling -->\n")
    main(["--runs", str(root), "--page", str(page)])
    assert "| `lab` | 0.750" in page.read_text()
    made = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert made == ["credit.png", CURVES, "curves.png", RUNS]
    with pytest.raises(SystemExit):
        main(["--runs", str(tmp_path / "none"), "--page", str(page)])
    assert "holds no sweep" in capsys.readouterr().err


def test_the_page_says_what_its_csvs_say():
    page = PAGE.read_text()
    assert with_tables(page, read(PAGE.with_suffix(""))) == page
    for name in TABLES:
        assert f"<!-- {name}" in page, name
