"""The sweep: which processes it starts, which it does not, and what it makes of what they leave behind."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlsd_pl.commands.runs import finished_iterations, is_finished, read_history
from rlsd_pl.commands.sweep import sweep
from rlsd_pl.commands.sweep.dry_run import complaint
from rlsd_pl.commands.sweep.flags import check_flags
from rlsd_pl.commands.sweep.grid import Grid, objective_name
from rlsd_pl.commands.sweep.launch import FIT, LocalLauncher, environment
from rlsd_pl.commands.sweep.processes import Processes, State
from rlsd_pl.commands.sweep.results import FinishedRun, changes, figures, table
from rlsd_pl.persistence.lock import RunLock

# Leaves what fit.py leaves. Its flags: --iterations N to plan, --stop_at objective:N to die there, --slow to wait.
FAKE = """
import json, os, sys, time
from pathlib import Path
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--print_config" in sys.argv:
    if "--bad" in flags:
        print("error: no such option", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
resumed = "--resume" in flags
folder = Path(flags.get("--resume") or flags["--run_dir"])
with (folder.parent.parent / "calls.txt").open("a") as calls:
    kind = "resume" if resumed else "new"
    calls.write(f"{folder.parent.name}/{folder.name} {kind} {os.environ['OMP_NUM_THREADS']}\\n")
if not resumed:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"trainer:\\n  max_epochs: {flags['--iterations']}\\n")
planned = int((folder / "config.yaml").read_text().split()[-1])
version = folder / "csv" / f"version_{int(resumed)}"
version.mkdir(parents=True, exist_ok=True)
start = len(list((folder / "checkpoints").glob("*.ckpt"))) + 1
name, _, stop_at = flags.get("--stop_at", "").partition(":")
value = float(folder.name[-1]) / 10 + 0.5
with (version / "metrics.csv").open("w") as file:
    file.write("rollout/reward,step,val/greedy_accuracy,val/sampled_accuracy\\n")
    for iteration in range(start, planned + 1):
        if name == folder.parent.name and not resumed and iteration == int(stop_at):
            print("out of luck")
            sys.exit(3)
        (folder / "checkpoints" / f"iteration-{iteration:06d}.ckpt").touch()
        file.write(f",{iteration},{value},{value / 2}\\n{value},{iteration},,\\n")
        file.flush()
        while "--slow" in flags and iteration == 1:
            time.sleep(0.05)
(folder / "finished.json").write_text(json.dumps({"iterations": planned}))
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "fake_fit.py"
    path.write_text(FAKE)
    return [str(path)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsd_pl.commands.sweep.live.POLL_SECONDS", 0.05)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def processes(grid: Grid, program: list[str]) -> Processes:
    return Processes(grid.runs, LocalLauncher(grid.flags, 1, program), 1)


def calls(folder: Path) -> list[str]:
    path = folder / "calls.txt"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def test_runs_the_grid_once_and_tabulates_it(program: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "sweep"
    argv = ["--objectives", "rlvr,rlsd", "--seeds", "1,2", "--sweep_dir", str(folder), "--at", "1,7"]
    argv += ["--jobs", "2", "--iterations", "2"]
    assert sweep(argv, program) == 0
    share = max(1, (os.cpu_count() or 1) // 2)
    expected = [f"{o}/seed-{s} new {share}" for o in ("rlsd", "rlvr") for s in (1, 2)]
    assert calls(folder) == expected
    assert sweep(argv, program) == 0
    assert calls(folder) == expected  # nothing ran again
    with (folder / "results.csv").open() as file:
        rows = {(row["objective"], row["metric"]): row for row in csv.DictReader(file)}
    greedy = rows["rlsd", "greedy accuracy"]
    assert float(greedy["mean"]) == pytest.approx(0.65)
    assert float(greedy["half_width"]) == pytest.approx(12.7062 * math.sqrt(0.005) / math.sqrt(2), rel=1e-4)
    assert greedy["n"] == "2"
    assert float(rows["rlvr", "sampled accuracy at 1"]["mean"]) == pytest.approx(0.325)
    assert rows["rlvr", "sampled accuracy at 7"]["mean"] == ""  # never evaluated there: blank, not the nearest
    assert "| sampled accuracy at 7 |  |  |" in (folder / "results.md").read_text()
    assert (folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert [rows["rlsd", "greedy accuracy"][name] for name in ("difference", "common_seeds")] == ["0.0", "2"]
    assert rows["rlvr", "greedy accuracy"]["difference"] == ""
    assert "## Differences from rlvr" in (folder / "results.md").read_text()
    assert "4 of them finished" in capsys.readouterr().out


def test_a_failed_run_is_reported_and_then_resumed(
    program: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "sweep"
    argv = ["--objectives", "opsd,rlsd", "--seeds", "0", "--sweep_dir", str(folder)]
    argv += ["--iterations", "3", "--stop_at", "opsd:2"]
    assert sweep(argv, program) == 1
    shown = capsys.readouterr().out
    assert "opsd seed 0 failed: exit status 3" in shown
    assert "out of luck" in shown
    assert "rlsd (n = 1)" in shown  # the other one still ran and stands in the table
    assert "opsd (n" not in shown
    assert sweep(argv, program) == 0
    assert [call.rpartition(" ")[0] for call in calls(folder)] == [
        "opsd/seed-0 new",
        "opsd/seed-0 resume",
        "rlsd/seed-0 new",
    ]
    assert finished_iterations(read_history(folder / "opsd" / "seed-0")) == 3


def test_a_run_without_a_finished_iteration_starts_anew(program: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    argv = ["--objectives", "opsd", "--seeds", "0", "--sweep_dir", str(folder), "--iterations", "1"]
    assert sweep([*argv, "--stop_at", "opsd:1"], program) == 1
    (folder / "sweep.json").write_text('{"flags": ["--iterations", "1"]}')
    assert sweep(argv, program) == 0
    assert [call.split()[1] for call in calls(folder)] == ["new", "new"]
    assert "out of luck" in (folder / "opsd" / "seed-0" / "log.txt").read_text()  # the log goes on


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--objectives", "rlvr,nope"], "'nope'; expected one of: "),
        (["--objectives", "rlvr", "--bad", "1"], "no such option"),
        (["--objectives", "rlvr", "--seed_everything=3"], "set --seeds"),
        (["--objectives", "rlvr", "--run_dir", "x"], "set --sweep_dir"),
        (["--objectives", "rlvr,rlvr"], "Two runs would write into"),
        (["--objectives", "rlvr", "--jobs", "0"], "at least 1"),
        (["--objectives", "rlvr", "--seeds", "1,x"], "joined by commas"),
        ([], "--objectives"),
    ],
)
def test_refuses_before_anything_starts(
    program: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, argv: list[str], complaint: str
) -> None:
    folder = tmp_path / "sweep"
    with pytest.raises(SystemExit) as exit_info:
        sweep([*argv, "--sweep_dir", str(folder), "--iterations", "1"], program)
    assert exit_info.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not folder.exists()


NOTED = """
import json, os, sys
from pathlib import Path
with Path(__file__).with_name("tried.jsonl").open("a") as tried:
    tried.write(json.dumps([os.getpid(), sys.argv[1:]]) + "\\n")
os.write(1, b"not an answer\\n")
print("on the way", file=sys.stderr)
if "4" in sys.argv and "rlsd" in sys.argv:
    {}
"""


def tried(folder: Path, at_last: str) -> tuple[list, str]:
    """(process, arguments) of each start of a program, up to the one that does ``at_last``; and what is then said."""
    program = folder / "noted.py"
    program.write_text(NOTED.format(at_last))
    grid = Grid(folder / "sweep", ["rlvr", "rlsd", "opsd"], [3], ["--x", "1"], {"lr": ["2", "4"]}, [7])
    said = ""
    try:
        check_flags(grid, [str(program)])
    except ValueError as error:
        said = str(error)
    return [json.loads(line) for line in (folder / "tried.jsonl").read_text().splitlines()], said


def test_one_process_tries_all_flags(tmp_path: Path) -> None:
    starts, said = tried(tmp_path, "sys.exit(0)")
    assert said == ""
    assert [arguments for _, arguments in starts] == [
        ["--objective", objective, "--seed_everything", "3", "--x", "1", "--lr", lr, "--print_config"]
        for objective in ("rlvr", "rlsd", "opsd")
        for lr in ("2", "4")
    ]
    assert len({process for process, _ in starts}) == 1


@pytest.mark.parametrize(
    ("at_last", "complaint"),
    [
        ("sys.exit(3)", "on the way"),
        ("sys.exit('no such lr')", "on the way\nno such lr"),
        ("raise KeyError('lr')", "KeyError: 'lr'"),
        ("os._exit(5)", "lr=4.\nIt ended with exit status 5."),
        ("os.write(2, b'lost'); os.kill(os.getpid(), 9)", "lr=4.\nlost\nIt ended with exit status -9."),
    ],
)
def test_the_first_complaint_comes_with_objective_and_setting(at_last: str, complaint: str, tmp_path: Path) -> None:
    starts, said = tried(tmp_path, at_last)
    assert len(starts) == 4  # none after it
    assert said.startswith("fit does not accept these flags for rlsd with lr=4.\n")
    assert said.endswith(complaint)


UNKNOWN = "error: --objective.epsilon_w: RLVR has no such setting"


def test_fit_is_tried_as_often_as_one_likes_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["-"])
    monkeypatch.delitem(sys.modules, "rlsd_pl.commands.fit", raising=False)
    shared = ["--seed_everything", "3", "--optimizer.lr", "1e-4"]
    for objective, expected in (("rlvr", UNKNOWN), ("rlsd", ""), ("rlvr", UNKNOWN)):
        flags = ["--objective", objective, *shared, "--objective.epsilon_w", "0.3", "--print_config"]
        refused = complaint(FIT, flags)
        assert refused.partition("\n")[0] == expected


def test_refuses_a_folder_with_other_flags_or_other_files(tmp_path: Path) -> None:
    Grid(tmp_path / "a", ["rlvr"], [0], ["--x", "1"]).claim()
    Grid(tmp_path / "a", ["rlvr", "rlsd"], [0, 1], ["--x", "1"]).claim()  # the grid may grow
    with pytest.raises(ValueError, match=r"other flags(.|\n)*--x 2(.|\n)*--x 1"):
        Grid(tmp_path / "a", ["rlvr"], [0], ["--x", "2"]).claim()
    with pytest.raises(ValueError, match="no sweep"):
        Grid(tmp_path, ["rlvr"], [0]).claim()


def test_the_folder_knows_what_the_sweep_was_last_called_with(tmp_path: Path) -> None:
    for seeds in ("0", "0,1"):
        argv = ["--objectives", "rlvr", "--seeds", seeds, "--grid.optimizer.lr", "1e-4,2e-4"]
        Grid(tmp_path / "a", ["rlvr"], [0]).claim(argv)
        assert json.loads((tmp_path / "a" / "sweep.json").read_text()) == {"flags": [], "argv": argv}


def test_a_run_is_finished_when_its_last_iteration_and_its_export_are_written(tmp_path: Path) -> None:
    def run(name: str, planned: int | None, finished: int | None) -> Path:
        folder = tmp_path / name
        (folder / "csv" / "version_0").mkdir(parents=True)
        (folder / "csv" / "version_0" / "metrics.csv").write_text("rollout/reward,step\n0.1,1\n0.1,2\n")
        (folder / "config.yaml").write_text(f"trainer:\n  max_epochs: {planned or 'null'}\n")
        if finished is not None:
            (folder / "finished.json").write_text(f'{{"iterations": {finished}}}')
        return folder

    assert is_finished(run("all", 2, 2))
    assert not is_finished(run("killed before its export", 2, None))
    assert not is_finished(run("finished once, then prolonged", 3, 2))
    assert not is_finished(run("without a limit", -1, 2))
    assert not is_finished(tmp_path / "absent")


def test_a_run_that_somebody_goes_on_with_by_hand_is_not_started(program: list[str], tmp_path: Path) -> None:
    grid = Grid(tmp_path / "sweep", ["rlvr"], [0], ["--iterations", "1"])
    folder = grid.runs[0].folder
    with RunLock(folder), pytest.raises(ValueError, match=rf"still writing the run in {folder}: process {os.getpid()}"):
        processes(grid, program).advance()
    assert calls(tmp_path / "sweep") == []


def test_the_final_evaluation_is_the_one_after_the_last_iteration(tmp_path: Path) -> None:
    run = FinishedRun(0, 4, {"val/greedy_accuracy": {0: 0.1, 3: 0.9}, "val/pass_at_8": {4: 0.7}})
    found = {figure.metric: figure for figure in figures({"rlsd": [run]}, [])}
    assert found["greedy accuracy"].n == 0
    assert str(found["greedy accuracy"]) == ""
    assert found["pass@8"].mean == 0.7
    assert math.isnan(found["pass@8"].half_width)  # one seed tells nothing of a spread
    assert "hollow" not in found  # no run has it


def test_an_interrupted_sweep_leaves_no_process_and_a_running_one_is_not_doubled(
    program: list[str], tmp_path: Path
) -> None:
    grid = Grid(tmp_path / "sweep", ["rlvr"], [0], ["--iterations", "2", "--slow", "1"])
    first = processes(grid, program)
    first.advance()
    folder = grid.runs[0].folder
    try:
        deadline = time.monotonic() + 20
        while finished_iterations(read_history(folder)) < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(ValueError, match="still writing"):
            processes(grid, program).advance()
    finally:
        first.stop()
    first.advance()
    assert first.states == {grid.runs[0]: State.FAILED}
    assert first.exit_codes[grid.runs[0]] != 0
    assert not is_finished(folder)


def test_children_share_the_cores_and_do_not_inherit_a_run_folder() -> None:
    cores = os.cpu_count() or 1
    assert environment(1, {"RLSD_PL_RUN_DIR": "x", "A": "b"}) == {"OMP_NUM_THREADS": str(cores), "A": "b"}
    assert environment(10 * cores, {})["OMP_NUM_THREADS"] == "1"
    assert environment(1, {"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(("given", "name"), [("rlsd", "rlsd"), ("a.b.Mine", "Mine"), ("x/my.yaml", "my")])
def test_folders_are_named_after_objectives(given: str, name: str) -> None:
    assert objective_name(given) == name


def test_the_parent_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'lightning', 'transformers', 'matplotlib', 'scipy'}"
    code = f"import sys, rlsd_pl.commands.sweep, rlsd_pl.commands.plots; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_terminating_the_sweep_stops_its_runs(program: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    argv = ["--objectives", "rlvr", "--seeds", "0", "--sweep_dir", str(folder), "--iterations", "2", "--slow", "1"]
    code = "import sys; from rlsd_pl.commands.sweep import sweep; "
    code += f"sys.exit(sweep({argv!r}, {program!r}))"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    run = folder / "rlvr" / "seed-0"
    deadline = time.monotonic() + 60
    while finished_iterations(read_history(run)) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 128 + signal.SIGTERM
    rest = processes(Grid(folder, ["rlvr"], [0], ["--iterations", "2"]), program)
    while rest.left:
        rest.advance()  # raises if the run of the first sweep still holds its folder
        time.sleep(0.05)
    assert is_finished(run)


def test_many_objectives_get_a_line_each_on_the_console():
    history = {"val/greedy_accuracy": {2: 0.5}, "val/sampled_accuracy": {2: 0.25}, "val/truncated": {2: 0.0}}
    for count, columns, rows in ((4, 5, 3), (5, 3, 5)):
        finished = {f"method{i}": [FinishedRun(0, 2, history)] for i in range(count)}
        shown = table(figures(finished, []), finished)
        assert (len(shown.columns), shown.row_count) == (columns, rows)


def test_differences_from_rlvr_are_paired_on_common_seeds():
    def run(seed: int, value: float) -> FinishedRun:
        return FinishedRun(seed, 2, {"val/greedy_accuracy": {2: value}})

    finished = {"rlvr": [run(0, 0.5), run(1, 0.75)], "rlsd": [run(0, 0.625), run(1, 0.75), run(2, 0.0)]}
    rlvr, rlsd = figures(finished, [])
    assert (rlsd.common_seeds, rlsd.difference) == (2, 0.0625)
    assert rlsd.change == "+0.062 ± 0.794"  # 12.7062 * 0.0625
    assert rlsd.probability == pytest.approx(2.5 / 6)
    assert (str(rlvr), rlvr.change) == ("0.625 ± 1.588", "")
    shown = changes(figures(finished, []), finished)
    assert shown is not None
    assert [column.header for column in shown.columns] == ["difference from rlvr", "rlsd (n = 3)"]
    alone = {"rlsd": finished["rlsd"]}
    assert changes(figures(alone, []), alone) is None
