"""Rules on finished runs: when accuracy fell, when an alarm would have come, and what that is worth."""

from __future__ import annotations

import csv

import pytest

from rlsd_pl.commands.leakage_alarms import Outcome, fall_of, first_alarm, main, measured, outcomes, parsed
from rlsd_pl.commands.plots import plot_leakage
from rlsd_pl.leakage import Above, Rises


@pytest.mark.parametrize(
    ("accuracy", "fall"),
    [
        ([0.6, 0.8, 0.9], None),
        ([0.6, 0.8, 0.3, 0.9], None),
        ([0.6, 0.8, 0.3, 0.2], 2),
        ([0.6, 0.8, 0.75, 0.69], 3),
        ([0.6, 0.9, 0.7, 0.85, 0.5, 0.6], 4),
        ([0.6], None),
        ([], None),
    ],
)
def test_a_fall_is_for_good(accuracy, fall):
    assert fall_of(dict(enumerate(accuracy)), 0.1) == fall


def test_alarms_come_as_within_the_run():
    history = {"a": {0: 0.0, 5: 0.9, 10: 0.9}, "b": {i: float(i) for i in range(1, 11)}}
    assert first_alarm(history, [Above("a", 0.5, 2)]) == (10, "a")
    assert first_alarm(history, [Above("a", 0.5, 2), Rises("b", 4.0, 3)]) == (8, "b")
    assert first_alarm(history, [Above("c", 0.0)]) is None


@pytest.mark.parametrize(
    ("fall", "alarm", "lead", "verdict"),
    [
        (20, 15, 5, "early"),
        (20, 16, 4, "late"),
        (20, 25, -5, "late"),
        (20, None, None, "missed"),
        (None, 5, None, "false alarm"),
        (None, None, None, "quiet"),
    ],
)
def test_what_an_alarm_is_worth(fall, alarm, lead, verdict):
    outcome = Outcome("opsd", 0, fall, alarm)
    assert (outcome.lead, outcome.verdict) == (lead, verdict)


def test_rules_are_read_from_text():
    rule = parsed("Above rollout/hollow 0.2 3")
    assert str(rule) == str(Above("rollout/hollow", 0.2, 3))
    for wrong in ("Above", "Nothing rollout/hollow 0.2", "Above rollout/hollow much"):
        with pytest.raises(Exception, match=r"expected 'CLASS KEY LIMIT \[CHECKS\]'"):
            parsed(wrong)


@pytest.fixture
def sweep(tmp_path):
    """OPSD falls at 20 with hollow answers from 10 on, on both seeds; RLVR rises."""
    for objective, seed in (("opsd", 0), ("opsd", 1), ("rlvr", 0)):
        folder = tmp_path / objective / f"seed-{seed}" / "csv" / "version_0"
        folder.mkdir(parents=True)
        rows = [("step", "val/sampled_accuracy", "rollout/hollow")]
        for step in range(0, 31, 5):
            fell = objective == "opsd" and step >= 20
            rows.append((step, 0.2 if fell else 0.6 + step / 100, 0.5 if objective == "opsd" and step >= 10 else 0.0))
        with (folder / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        objective_class = {"opsd": "OPSD", "rlvr": "RLVR"}[objective]
        config = f"seed_everything: {seed}\nobjective: {{class_path: rlsd_pl.objectives.{objective_class}}}\n"
        (tmp_path / objective / f"seed-{seed}" / "config.yaml").write_text(config)
    return tmp_path


def test_a_sweep_is_judged_run_by_run(sweep, capsys):
    found = outcomes(measured([str(sweep)], []), [Above("rollout/hollow", 0.2, 2)], 0.1)
    opsd = [Outcome("opsd", seed, 20, 15, "rollout/hollow") for seed in (0, 1)]
    assert found == [*opsd, Outcome("rlvr", 0, None, None)]
    assert outcomes(measured([str(sweep)], [1]), [Above("rollout/hollow", 0.2, 2)], 0.1) == [opsd[1]]
    main([str(sweep), "--rule", "Above rollout/hollow 0.2 2", "--csv", str(sweep / "alarms.csv")])
    said = " ".join(capsys.readouterr().out.split())
    assert "2 of 2 falls had an alarm at least 5 iterations before; 0 of 1 runs without a fall had one." in said
    assert (sweep / "alarms.csv").read_text().splitlines()[1] == "opsd,0,20,15,5,rollout/hollow,early"


def test_rules_are_compared_each_by_itself(sweep, capsys):
    rules = [f"Above rollout/hollow {limit}" for limit in ("0.2 2", "-1 1", "0.9 1")]
    main([str(sweep), "--compare", *(word for rule in rules for word in ("--rule", rule))])
    assert capsys.readouterr().out.splitlines() == [
        "| rule | `opsd` | alarms on 1 runs without a fall |",
        "| --- | --- | --- |",
        "| `Above rollout/hollow 0.2 2` | 5, 5 | 0 |",
        "| `Above rollout/hollow -1 1` | 20, 20 | 1 |",
        "| `Above rollout/hollow 0.9 1` | none, none | 0 |",
    ]


def test_a_key_that_no_run_has_logged_is_refused(sweep, capsys):
    with pytest.raises(SystemExit):
        main([str(sweep), "--rule", "Above rollout/hollo 0.2 2"])
    said = " ".join(capsys.readouterr().err.split())
    assert "Got the rule 'Above rollout/hollo 0.2 2', whose key no run has logged" in said
    assert "rollout/hollow" in said


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert f"{tmp_path} holds no run" in capsys.readouterr().err


def test_seeds_without_runs_are_told(sweep, capsys):
    with pytest.raises(SystemExit):
        main([str(sweep), "--seeds", "7"])
    assert "No run with val/sampled_accuracy on these seeds" in capsys.readouterr().err


def test_a_run_with_measurements_gets_a_picture(tmp_path):
    path = tmp_path / "csv" / "version_0" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("step,rollout/reward\n1,0.5\n")
    assert plot_leakage(tmp_path) is None
    path.write_text("step,leakage/phrase_rate,leakage/alarms\n0,0.0,\n1,,0.0\n2,0.1,1.0\n")
    assert plot_leakage(tmp_path) == tmp_path / "leakage.png"
    assert (tmp_path / "leakage.png").read_bytes().startswith(b"\x89PNG")
