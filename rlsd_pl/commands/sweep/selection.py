"""Each objective's own best setting, chosen on seeds that are not reported."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsd_pl.commands.runs import planned_iterations, read_history
from rlsd_pl.commands.sweep.axes import Setting, label, on_edge
from rlsd_pl.commands.sweep.costs import costs, total
from rlsd_pl.commands.sweep.grid import Grid, Run, objective_name
from rlsd_pl.commands.sweep.processes import Processes, State

FILE = "selection.csv"


@dataclass(frozen=True)
class Candidate:
    """One setting of one objective.

    Attributes:
        runs: one for each seed that settings are chosen on.
        finished: how many of them have finished.
        score: mean over seeds of the series after the last iteration; ``None`` unless all runs have one.
        costs: of all runs together, by name.
    """

    objective: str
    setting: Setting
    runs: Sequence[Run]
    finished: int
    score: float | None
    costs: Mapping[str, float]


def final_value(folder: Path, key: str) -> float | None:
    """The series' value after the run's last iteration; ``None`` where there is none, or it is not a number."""
    value = read_history(folder).get(key, {}).get(planned_iterations(folder) or 0)
    return None if value is None or math.isnan(value) else value


def score(runs: Sequence[Run], key: str) -> float | None:
    """Mean of the final values over runs that have all finished; ``None`` if one has none."""
    values = [final_value(run.folder, key) for run in runs]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def candidates(grid: Grid, processes: Processes, key: str) -> list[Candidate]:
    """All settings that were tried, in the order of their runs.

    Args:
        key: the logged series that decides.
    """
    tried: dict[tuple[str, Setting], list[Run]] = {}
    for run in processes.states:
        if run.seed in grid.select_seeds:
            tried.setdefault((run.objective, run.setting), []).append(run)
    found = []
    for (objective, setting), runs in tried.items():
        finished = sum(processes.states[run] is State.DONE for run in runs)
        value = score(runs, key) if finished == len(runs) else None
        spent = total(costs(read_history(run.folder)) for run in runs)
        found.append(Candidate(objective, setting, runs, finished, value, spent))
    return found


def choose(found: Sequence[Candidate], key: str) -> dict[str, Setting]:
    """The setting with the highest score by objective, the first of equal ones; without objectives that have none.

    Raises:
        ValueError: if runs have finished and the series has no value after the last iteration of any.
    """
    if any(c.finished == len(c.runs) for c in found) and all(c.score is None for c in found):
        ends = {name for c in found for run in c.runs for name in _logged_at_the_end(run.folder)}
        raise ValueError(
            f"No run has logged {key} after its last iteration; expected one of {', '.join(sorted(ends)) or '(none)'} "
            "for --select_by, and --trainer.check_val_every_n_epoch to divide --trainer.max_epochs."
        )
    best: dict[str, Candidate] = {}
    for candidate in found:
        if candidate.score is not None:
            rival = best.get(candidate.objective)
            if rival is None or rival.score is None or candidate.score > rival.score:
                best[candidate.objective] = candidate
    return {objective: candidate.setting for objective, candidate in best.items()}


def _logged_at_the_end(folder: Path) -> list[str]:
    last = planned_iterations(folder) or 0
    return [key for key, series in read_history(folder).items() if key.startswith("val/") and last in series]


def write_selection(found: Sequence[Candidate], chosen: Mapping[str, Setting], path: Path) -> None:
    """One line per setting that was tried: score, whether it was chosen, and what it has cost."""
    names = list(dict.fromkeys(name for candidate in found for name in candidate.costs))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["objective", "setting", "seeds", "finished", "score", "chosen", *names])
        for c in found:
            row = [objective_name(c.objective), label(c.setting), len(c.runs), c.finished]
            row += ["" if c.score is None else c.score, int(chosen.get(c.objective) == c.setting)]
            writer.writerow([*row, *(c.costs.get(name, "") for name in names)])


def notes(grid: Grid, found: Sequence[Candidate], chosen: Mapping[str, Setting], key: str) -> list[str]:
    """What was chosen and how, for people; what failed, and what lies on the edge of its values."""
    scores = {(c.objective, c.setting): c.score for c in found}
    picked = "; ".join(
        f"{objective_name(o)} {label(setting)} ({scores.get((o, setting)) or 0.0:.3f})" for o, setting in chosen.items()
    )
    seeds = ", ".join(map(str, grid.select_seeds))
    lines = [f"Settings by {key} after the last iteration, on seeds {seeds}, each objective's own best: {picked}."]
    for objective, setting in chosen.items():
        if edges := on_edge(setting, grid.axes):
            lines.append(
                f"{objective_name(objective)}: {', '.join(edges)} lies on the edge of its values; a better one may lie "
                "beyond."
            )
    if missing := [objective_name(o) for o in grid.objectives if o not in chosen]:
        lines.append(f"No setting of {', '.join(missing)} has finished on all seeds; nothing is reported of it.")
    if failed := sum(c.finished < len(c.runs) for c in found):
        lines.append(
            f"{failed} of {len(found)} settings did not finish on all seeds and could not be chosen; see {FILE}."
        )
    return lines
