"""Settings of a sweep: which are tried, on which seeds, by which each objective's own is chosen, and what it costs."""

from __future__ import annotations

import csv
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml

from rlsd_pl.commands.report.load import find
from rlsd_pl.commands.runs import is_finished, read_history
from rlsd_pl.commands.sweep import cluster, sweep
from rlsd_pl.commands.sweep.axes import Range, on_edge, probes, settings, split, take_axes
from rlsd_pl.commands.sweep.grid import Grid, Run
from rlsd_pl.commands.sweep.launch import fit_arguments
from rlsd_pl.commands.sweep.processes import GRACE_SECONDS, Processes, State
from rlsd_pl.commands.sweep.selection import candidates, choose
from rlsd_pl.commands.sweep.tuning import Tuner

# A run whose accuracy after iteration i is i times a rate that depends on objective, seed and --optimizer.lr: rlvr does
# best at 2e-4, rlsd at 4e-4. Each iteration costs 100 tokens, 8 scored completions (rlsd: 16) and 2 + 3 seconds.
FAKE = """
import json, os, sys, time
from pathlib import Path
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--print_config" in sys.argv:
    known = "--objective.epsilon_w" not in flags or flags["--objective"] == "rlsd"
    print("no such flag", file=sys.stderr)
    sys.exit(0 if known else 2)
resumed = "--resume" in flags
folder = Path(flags.get("--resume") or flags["--run_dir"])
if not resumed:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("trainer:\\n  max_epochs: 4\\n")
    (folder / "flags.json").write_text(json.dumps(flags))
flags = json.loads((folder / "flags.json").read_text())
sweep = Path(flags["--run_dir"].split("/rlvr/")[0].split("/rlsd/")[0])
with (sweep / "calls.txt").open("a") as calls:
    calls.write(f"{folder.relative_to(sweep)}{' resumed' if resumed else ''}\\n")
objective, seed, rate = flags["--objective"], int(flags["--seed_everything"]), float(flags["--optimizer.lr"])
if rate > 1e-3:
    sys.exit(3)
best = {"rlvr": 2e-4, "rlsd": 4e-4}[objective]
slope = 0.2 - 200 * abs(rate - best) + 0.001 * seed
done = len(list((folder / "checkpoints").glob("*.ckpt")))
(folder / "csv" / f"version_{int(resumed)}").mkdir(parents=True)
with (folder / "csv" / f"version_{int(resumed)}" / "metrics.csv").open("w") as file:
    file.write("rollout/reward,step,val/sampled_accuracy,perf/generated_tokens,perf/scored_completions,")
    file.write("perf/rollout_seconds,perf/update_seconds\\n")
    for i in range(done + 1, 5):
        file.write(f",{i},{slope * i},,,,\\n0.5,{i},,100,{16 if objective == 'rlsd' else 8},2,3\\n")
        file.flush()
        (folder / "checkpoints" / f"iteration-{i:06d}.ckpt").touch()
        while "--slow" in flags and not resumed and i == 2:
            time.sleep(0.05)
        time.sleep(float(flags.get("--pace", 0)))
(folder / "finished.json").write_text(json.dumps({"iterations": 4}))
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "fake_fit.py"
    path.write_text(FAKE)
    return [str(path)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsd_pl.commands.sweep.live.POLL_SECONDS", 0.02)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def calls(folder: Path) -> list[str]:
    return sorted((folder / "calls.txt").read_text().splitlines())


# --- axes -------------------------------------------------------------------------------------------------------------


def test_axes_are_taken_out_of_the_flags():
    flags = ["--grid.optimizer.lr", "1e-4,2e-4", "--trainer.max_epochs", "3", "--grid.optimizer.betas=[.9,.9],[.8,.9]"]
    axes, rest = take_axes(flags, ranges=False)
    assert axes == {"optimizer.lr": ["1e-4", "2e-4"], "optimizer.betas": ["[.9,.9]", "[.8,.9]"]}
    assert rest == ["--trainer.max_epochs", "3"]
    assert [dict(setting) for setting in settings(axes)] == [
        {"optimizer.lr": lr, "optimizer.betas": betas} for lr in ("1e-4", "2e-4") for betas in ("[.9,.9]", "[.8,.9]")
    ]


def test_ranges_are_read_for_those_who_tune():
    flags = ["--grid.a", "1e-5:1e-3:log", "--grid.b", "2:8", "--grid.c", "0.5:2"]
    axes, _ = take_axes(flags, ranges=True)
    assert axes == {
        "a": Range(1e-5, 1e-3, True, False),
        "b": Range(2, 8, False, True),
        "c": Range(0.5, 2, False, False),
    }
    assert [axes["a"].text(0.000123456), axes["b"].text(3.0)] == ["0.0001235", "3"]
    assert take_axes(flags, ranges=False)[0]["b"] == ["2:8"]  # text as it is


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--grid.lr"], "without a value"),
        (["--grid.lr", "--jobs"], "without a value"),
        (["--grid.", "1,2"], "without a value"),
        (["--grid.lr", "1,1"], "different values"),
        (["--grid.lr", "1,,2"], "different values"),
        (["--grid.lr", "1,2", "--lr", "3"], "each flag once"),
        (["--grid.lr", "1,2", "--grid.lr", "3,4"], "each flag once"),
        (["--grid.lr", "3:1"], "LOW < HIGH"),
        (["--grid.lr", "0:1:log"], "LOW > 0"),
    ],
)
def test_axes_that_say_nothing_are_refused(flags: list[str], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        take_axes(flags, ranges=True)


def test_commas_inside_of_brackets_part_nothing():
    assert split("{a: [1,2]},(3,4), 5") == ["{a: [1,2]}", "(3,4)", "5"]


def test_few_settings_hold_every_value_once():
    axes = {"a": ["1", "2", "3"], "b": ["x"], "c": Range(1, 4, False, True)}
    assert [dict(s) for s in probes(axes)] == [
        {"a": "1", "b": "x", "c": "1"},
        {"a": "2", "b": "x", "c": "4"},
        {"a": "3", "b": "x", "c": "4"},
    ]
    assert probes({}) == [()]


def test_the_edge_of_numbers_is_named_and_that_of_words_is_not():
    axes = {"lr": ["1e-4", "4e-4", "2e-4"], "by": ["x", "y"], "r": Range(1.0, 2.0, False, False), "one": ["3"]}
    assert on_edge((("lr", "4e-4"), ("by", "x"), ("r", "2"), ("one", "3")), axes) == ["lr", "r"]
    assert on_edge((("lr", "2e-4"), ("by", "y"), ("r", "1.5"), ("one", "3")), axes) == []


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_runs_of_a_setting_lie_in_a_folder_of_its_name_and_get_its_flags(tmp_path: Path):
    grid = Grid(tmp_path, ["rlvr", "rlsd"], [0], ["--x", "1"], {"a": ["1", "2"], "p": ["u/v"]}, [7, 8])
    assert len(grid.candidates()) == 2 * 2 * 2
    first = grid.candidates()[0]
    assert first == Run("rlvr", 7, tmp_path / "rlvr" / "a=1,p=u_v" / "seed-7", (("a", "1"), ("p", "u/v")))
    assert fit_arguments(first, grid.flags) == [
        *("--objective", "rlvr", "--seed_everything", "7", "--x", "1", "--a", "1", "--p", "u/v")
    ]
    chosen = {"rlsd": (("a", "2"), ("p", "u/v"))}
    assert [run.folder for run in grid.reported(chosen)] == [tmp_path / "rlsd" / "a=2,p=u_v" / "seed-0"]
    assert Grid(tmp_path, ["rlvr"], [0]).runs == [Run("rlvr", 0, tmp_path / "rlvr" / "seed-0")]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--grid.optimizer.lr", "1e-4,2e-4"], "together with --select_seeds"),
        (["--select_seeds", "7"], "together with --select_seeds"),
        (["--grid.optimizer.lr", "1e-4,2e-4", "--select_seeds", "1,7", "--seeds", "0,1"], "Got the seeds 1 in --seeds"),
        (["--grid.seed_everything", "1,2", "--select_seeds", "7"], "set --seeds"),
        (["--grid.objective.epsilon_w", ".1,.2", "--select_seeds", "7"], "rlvr with objective.epsilon_w=.1"),
        (["--optuna", "3"], "nothing to tune"),
        (["--cluster", "local"], "without --cluster.timeout_min"),
        (["--cluster", "local", "--cluster.timeout_min", "5", "--cluster.sorts", "x"], "submitit says"),
        (["--cluster", "slurm", "--cluster.timeout_min", "soon"], "submitit says"),
        (["--cluster.timeout_min", "5"], "set --cluster slurm"),
        (["--cluster", "pbs"], "invalid choice"),
    ],
)
def test_refuses_before_anything_starts(
    program: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, argv: list[str], complaint: str
):
    folder = tmp_path / "sweep"
    with pytest.raises(SystemExit) as stopped:
        sweep(["--objectives", "rlvr,rlsd", *argv, "--sweep_dir", str(folder)], program)
    assert stopped.value.code == 2
    assert complaint in " ".join(capsys.readouterr().err.split())
    assert not folder.exists()


GRID = ["--objectives", "rlvr,rlsd", "--seeds", "0,1", "--select_seeds", "7,9", "--jobs", "2"]


def test_each_objective_is_reported_at_its_own_best_setting_of_other_seeds(
    program: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = tmp_path / "sweep"
    argv = [*GRID, "--grid.optimizer.lr", "1e-4,2e-4,4e-4", "--sweep_dir", str(folder)]
    assert sweep(argv, program) == 0
    tried = [
        f"{o}/optimizer.lr={lr}/seed-{s}" for o in ("rlvr", "rlsd") for lr in ("1e-4", "2e-4", "4e-4") for s in (7, 9)
    ]
    best = {"rlvr": "2e-4", "rlsd": "4e-4"}
    reported = [f"{o}/optimizer.lr={lr}/seed-{s}" for o, lr in best.items() for s in (0, 1)]
    assert calls(folder) == sorted([*tried, *reported])
    selection = rows(folder / "selection.csv")
    assert {(r["objective"], r["setting"]) for r in selection if r["chosen"] == "1"} == {
        ("rlvr", "optimizer.lr=2e-4"),
        ("rlsd", "optimizer.lr=4e-4"),
    }
    scores = {(r["objective"], r["setting"]): float(r["score"]) for r in selection}
    assert scores["rlvr", "optimizer.lr=2e-4"] == pytest.approx(4 * 0.208)
    assert scores["rlsd", "optimizer.lr=1e-4"] == pytest.approx(4 * (0.208 - 0.06))
    assert {r["completions scored"] for r in selection if r["objective"] == "rlsd"} == {"128.0"}  # two runs of 4 x 16
    results = {(r["objective"], r["metric"]): r for r in rows(folder / "results.csv")}
    assert float(results["rlsd", "sampled accuracy"]["mean"]) == pytest.approx(4 * 0.2005)  # of seeds 0 and 1 alone
    assert [
        float(results["rlsd", name]["mean"]) for name in ("tokens generated", "completions scored", "training seconds")
    ] == [*(400.0, 64.0, 20.0)]
    runs = rows(folder / "runs.csv")
    assert len(runs) == 16
    assert [r["folder"] for r in runs if r["use"] == "report"] == [
        *(f"{o}/optimizer.lr={best[o]}/seed-{s}" for s in (0, 1) for o in ("rlvr", "rlsd"))
    ]
    assert {r["state"] for r in runs} == {"done"}
    shown = " ".join(capsys.readouterr().out.split())
    assert "on seeds 7, 9, each objective's own best: rlvr optimizer.lr=2e-4 (0.832); rlsd optimizer.lr=4e-4" in shown
    assert "rlsd: optimizer.lr lies on the edge of its values" in shown
    assert "rlvr: optimizer.lr lies on the edge" not in shown
    assert "optimizer.lr=2e-4" in (folder / "results.md").read_text()

    assert sorted((run.objective, run.seed) for run in find([str(folder)])) == [
        *(("rlsd", 0), ("rlsd", 1), ("rlvr", 0), ("rlvr", 1))
    ]
    tried_one = folder / "rlvr" / "optimizer.lr=1e-4" / "seed-7"
    assert [run.folder for run in find([str(tried_one)])] == [tried_one]

    # A value more: only its runs are new, and those of the setting that wins now.
    argv = [*GRID, "--grid.optimizer.lr", "1e-4,2e-4,3e-4,4e-4", "--sweep_dir", str(folder)]
    before = calls(folder)
    assert sweep(argv, program) == 0
    assert len(calls(folder)) == len(before) + 4


def test_a_setting_that_fails_is_told_and_not_chosen(program: list[str], tmp_path: Path, capsys):
    folder = tmp_path / "sweep"
    argv = [*GRID, "--grid.optimizer.lr", "1e-4,1e-2", "--sweep_dir", str(folder)]
    assert sweep(argv, program) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "rlvr optimizer.lr=1e-2 seed 7 failed: exit status 3" in shown
    assert "2 of 4 settings did not finish on all seeds" in shown
    assert {r["setting"] for r in rows(folder / "selection.csv") if r["chosen"] == "1"} == {"optimizer.lr=1e-4"}
    states = {(r["setting"], r["use"]): r["state"] for r in rows(folder / "runs.csv")}
    assert states == {
        ("optimizer.lr=1e-4", "choose"): "done",
        ("optimizer.lr=1e-2", "choose"): "failed",
        ("optimizer.lr=1e-4", "report"): "done",
    }


def test_where_no_setting_finishes_nothing_is_reported(program: list[str], tmp_path: Path, capsys):
    argv = ["--objectives", "rlvr", "--seeds", "0", "--select_seeds", "7", "--sweep_dir", str(tmp_path / "sweep")]
    assert sweep([*argv, "--grid.optimizer.lr", "1e-2,2e-2"], program) == 1
    assert "No setting of rlvr has finished on all seeds" in " ".join(capsys.readouterr().out.split())


def test_a_series_that_is_not_there_at_the_end_is_told_with_those_that_are(program: list[str], tmp_path: Path, capsys):
    argv = ["--objectives", "rlvr", "--seeds", "0", "--select_seeds", "7", "--sweep_dir", str(tmp_path / "sweep")]
    with pytest.raises(SystemExit):
        sweep([*argv, "--grid.optimizer.lr", "1e-4,2e-4", "--select_by", "val/pass_at_8"], program)
    said = " ".join(capsys.readouterr().err.split())
    assert "No run has logged val/pass_at_8 after its last iteration; expected one of val/sampled_accuracy" in said


SMALL = [
    *("--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
    *("--data.prompts_per_rollout", "2", "--data.group_size", "2"),
    *("--data.val_problems", "8", "--data.val_samples", "4"),
]


@pytest.mark.slow
def test_a_grid_of_real_runs(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "sweep"
    argv = ["--objectives", "rlvr", "--seeds", "0", "--select_seeds", "7", "--sweep_dir", str(folder), "--jobs", "2"]
    assert sweep([*argv, "--grid.optimizer.lr", "1e-4,2e-3", *SMALL]) == 0, capsys.readouterr().out
    runs, tried = rows(folder / "runs.csv"), rows(folder / "selection.csv")
    best = next(r["setting"] for r in tried if r["chosen"] == "1")
    assert [(r["objective"], r["setting"], r["seed"], r["use"], r["state"], r["folder"]) for r in runs] == [
        ("rlvr", "optimizer.lr=1e-4", "7", "choose", "done", "rlvr/optimizer.lr=1e-4/seed-7"),
        ("rlvr", "optimizer.lr=2e-3", "7", "choose", "done", "rlvr/optimizer.lr=2e-3/seed-7"),
        ("rlvr", best, "0", "report", "done", f"rlvr/{best}/seed-0"),
    ]
    for run in runs:
        config = yaml.safe_load((folder / run["folder"] / "config.yaml").read_text())
        rate = float(run["setting"].partition("=")[2])
        assert (config["optimizer"]["init_args"]["lr"], config["seed_everything"]) == (rate, int(run["seed"]))
        assert run["completions scored"] == "4.0"  # by the update alone, 2 prompts of 2
        assert 4 * 2 <= float(run["tokens generated"]) <= 4 * 80
    scores = {}
    for run in runs[:2]:
        after = read_history(folder / run["folder"])["val/sampled_accuracy"]
        assert after.keys() == {0, 1}
        scores[run["setting"]] = after[1]
    assert {r["setting"]: float(r["score"]) for r in tried} == pytest.approx(scores)
    assert [r["chosen"] for r in tried].count("1") == 1
    assert best == max(scores, key=lambda setting: scores[setting])  # the first of equal ones
    assert scores[best] > 0
    reported = read_history(folder / runs[2]["folder"])["val/sampled_accuracy"][1]
    (result,) = [r for r in rows(folder / "results.csv") if r["metric"] == "sampled accuracy"]
    assert (float(result["mean"]), result["n"]) == (pytest.approx(reported), "1")


# --- clusters ---------------------------------------------------------------------------------------------------------


def test_runs_are_jobs_of_submitit_s_local_executor(program: list[str], tmp_path: Path, capsys):
    folder = tmp_path / "sweep"
    argv = [
        "--objectives",
        "rlvr",
        "--seeds",
        "0,1",
        "--jobs",
        "2",
        "--optimizer.lr",
        "2e-4",
        "--sweep_dir",
        str(folder),
    ]
    argv += ["--cluster", "local", "--cluster.timeout_min", "5"]
    assert sweep(argv, program) == 0
    assert calls(folder) == ["rlvr/seed-0", "rlvr/seed-1"]
    assert len(list((folder / "jobs").glob("*_result.pkl"))) == 2
    assert rows(folder / "results.csv")[0]["n"] == "2"


def test_a_job_that_fails_is_told_with_its_exit_status(program: list[str], tmp_path: Path, capsys):
    argv = ["--objectives", "rlvr", "--seeds", "0", "--optimizer.lr", "1", "--sweep_dir", str(tmp_path / "sweep")]
    assert sweep([*argv, "--cluster", "local", "--cluster.timeout_min", "5"], program) == 1
    assert "rlvr seed 0 failed: exit status 3" in " ".join(capsys.readouterr().out.split())


def test_a_cancelled_job_ends_its_run_and_one_that_is_queued_again_goes_on(program: list[str], tmp_path: Path):
    grid = Grid(tmp_path / "sweep", ["rlvr"], [0], ["--optimizer.lr", "2e-4", "--slow", "1"])
    grid.claim()
    run = grid.runs[0]
    executor = cluster.make_executor("local", tmp_path / "jobs", {"timeout_min": 5})
    runs = Processes([run], cluster.ClusterLauncher(executor, grid.flags, program), 1)
    runs.advance()
    wait_for(lambda: (run.folder / "checkpoints" / "iteration-000002.ckpt").exists())
    runs.stop()
    runs.advance()
    assert runs.states == {run: State.FAILED}
    assert not is_finished(run.folder)
    again = Processes([run], cluster.ClusterLauncher(executor, grid.flags, program), 1)
    again.advance()
    wait_for(lambda: again.advance() or not again.left)
    assert again.states == {run: State.DONE}
    assert calls(grid.folder) == ["rlvr/seed-0", "rlvr/seed-0 resumed"]


def test_a_preempted_job_lets_its_run_leave_and_is_queued_again(program: list[str], tmp_path: Path):
    """Submitit sends SIGUSR2 to a job whose time is over; its local executor starts the job once more."""
    grid = Grid(tmp_path / "sweep", ["rlvr"], [0], ["--optimizer.lr", "2e-4", "--slow", "1"])
    grid.claim()
    run = grid.runs[0]
    executor = cluster.make_executor("local", tmp_path / "jobs", {"timeout_min": 5})
    job = cluster.ClusterLauncher(executor, grid.flags, program).start(run)
    wait_for(lambda: (run.folder / "checkpoints" / "iteration-000002.ckpt").exists())
    (task,) = children(job.job._process.pid)
    os.kill(task, signal.SIGUSR2)
    wait_for(lambda: job.poll() is not None)
    assert job.poll() == 0
    assert is_finished(run.folder)
    assert calls(grid.folder) == ["rlvr/seed-0", "rlvr/seed-0 resumed"]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 2 * GRACE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


# --- Optuna -----------------------------------------------------------------------------------------------------------


class Steps:
    """Starts runs that write an iteration at each poll; accuracy as in the programs above."""

    def __init__(self) -> None:
        self.started: list[Run] = []

    def start(self, run: Run) -> Step:
        self.started.append(run)
        return Step(run)


class Step:
    def __init__(self, run: Run) -> None:
        self.run = run
        (run.folder / "csv" / "version_0").mkdir(parents=True, exist_ok=True)
        (run.folder / "config.yaml").write_text("trainer:\n  max_epochs: 4\n")
        self.log = run.folder / "csv" / "version_0" / "metrics.csv"
        if not self.log.exists():
            self.log.write_text("rollout/reward,step,val/sampled_accuracy\n")

    def poll(self) -> int | None:
        rate, best = float(dict(self.run.setting)["lr"]), {"rlvr": 2e-4, "rlsd": 4e-4}[self.run.objective]
        done = len(self.log.read_text().splitlines()) // 2 + 1
        with self.log.open("a") as file:
            file.write(f",{done},{(0.2 - 200 * abs(rate - best)) * done}\n0.5,{done},\n")
        if done == 4:
            (self.run.folder / "finished.json").write_text('{"iterations": 4}')
        return 0 if done == 4 else None

    def interrupt(self) -> None: ...

    def end(self, seconds: float) -> None: ...


def tuned(grid: Grid, trials: int, polls: int = 1000) -> tuple[Processes, list[Run]]:
    """Run trials until they are over, or for so many polls."""
    launcher = Steps()
    runs, tuner = Processes([], launcher, jobs=2), Tuner(grid, trials, "val/sampled_accuracy")
    for _ in range(polls):
        if not (tuner.plan(runs) or runs.left):
            break
        runs.advance()
    return runs, launcher.started


@pytest.fixture
def space(tmp_path: Path) -> Grid:
    return Grid(tmp_path, ["rlvr", "rlsd"], [0], [], {"lr": Range(5e-5, 9e-4, log=True, whole=False)}, [7])


def test_optuna_prunes_trials_below_the_median_and_the_best_is_chosen(space: Grid):
    runs, _ = tuned(space, 9)
    found = candidates(space, runs, "val/sampled_accuracy")
    chosen = choose(found, "val/sampled_accuracy")
    for objective, best in (("rlvr", 2e-4), ("rlsd", 4e-4)):
        own = [c for c in found if c.objective == objective]
        assert len(own) == 9
        distances = {c.setting: abs(float(dict(c.setting)["lr"]) - best) for c in own}
        assert distances[chosen[objective]] == min(distances.values())
        pruned = [c for c in own if runs.states[c.runs[0]] is State.PRUNED]
        assert 1 <= len(pruned) <= 4, "none of the first five, on which the median rests"
        finished = sorted(d for s, d in distances.items() if s not in {c.setting for c in pruned})
        assert min(distances[c.setting] for c in pruned) > finished[0]
        assert all(c.score is None for c in pruned)


def test_a_tuning_that_is_called_again_goes_on_with_its_trials(space: Grid):
    first, started = tuned(space, 3, polls=6)
    assert first.having(State.RUNNING)
    again, more = tuned(space, 3)
    assert {run for run in more if run in started} == set(first.having(State.RUNNING))
    assert len(again.states) == 6
    assert set(again.states.values()) == {State.DONE}
    once_more, nothing = tuned(space, 3)
    assert nothing == []
    assert once_more.states == again.states
    assert len(tuned(space, 4)[1]) == 2


def test_choices_and_whole_numbers_are_tuned_too(tmp_path: Path):
    axes = {"lr": ["1e-4", "2e-4"], "n": Range(2, 8, log=False, whole=True)}
    runs, started = tuned(Grid(tmp_path, ["rlvr"], [0], [], axes, [7, 9]), 3)
    assert all(dict(run.setting)["lr"] in ("1e-4", "2e-4") for run in started)
    assert all(dict(run.setting)["n"] in "2345678" for run in started)
    assert {run.seed for run in runs.states} == {7, 9}


def test_optuna_is_an_option_of_the_command(program: list[str], tmp_path: Path):
    folder = tmp_path / "sweep"
    argv = ["--objectives", "rlvr", "--seeds", "0", "--select_seeds", "7", "--sweep_dir", str(folder), "--optuna", "2"]
    assert sweep([*argv, "--grid.optimizer.lr", "1e-4:3e-4"], program) == 0
    tried, (reported,) = rows(folder / "selection.csv"), [r for r in rows(folder / "runs.csv") if r["use"] == "report"]
    assert len(tried) == 2
    assert [reported["setting"]] == [r["setting"] for r in tried if r["chosen"] == "1"]


def test_without_the_library_it_says_what_to_install(program: list[str], tmp_path: Path, capsys, monkeypatch):
    for name, argv in (
        ("optuna", ["--optuna", "2", "--grid.optimizer.lr", "1,2", "--select_seeds", "7"]),
        ("submitit", ["--cluster", "slurm", "--cluster.timeout_min", "5"]),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SystemExit):
            sweep(["--objectives", "rlvr", "--sweep_dir", str(tmp_path / "sweep"), *argv], program)
        assert "pip install 'rlsd_pl[" in capsys.readouterr().err
