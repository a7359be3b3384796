"""Each objective's setting by Optuna: trials that learn from one another, poor ones ended early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsd_pl.commands.runs import History, read_history
from rlsd_pl.commands.sweep.axes import Axis, Range, Setting
from rlsd_pl.commands.sweep.grid import Grid, Run, objective_name
from rlsd_pl.commands.sweep.processes import Processes, State
from rlsd_pl.commands.sweep.selection import score

JOURNAL = "optuna.journal"
"""In the sweep's folder: all studies; ``optuna-dashboard`` reads it."""

SETTING = "setting"
"""Attribute of a trial: its values as runs are given them."""


@dataclass
class Trial:
    """One trial that goes on.

    Attributes:
        trial: of Optuna.
        runs: one for each seed.
        reported: the last iteration whose value Optuna has been told.
    """

    trial: Any
    runs: Sequence[Run]
    reported: int = 0


class Tuner:
    """Plans the runs of ``trials`` trials of each objective; called between polls of the processes.

    A trial runs one setting on all seeds. Its value after each evaluation is the mean over seeds, by which the median
    pruner ends trials that are worse than half of the earlier ones at the same iteration. The studies are on disk: a
    sweep that is called again goes on with them.

    Args:
        grid: whose axes are the search space: ranges, and choices.
        trials: of each objective.
        key: the logged series that is maximised.
    """

    def __init__(self, grid: Grid, trials: int, key: str) -> None:
        self.grid, self.trials, self.key = grid, trials, key
        self.studies = {objective: self._study(objective) for objective in grid.objectives}
        self.going: dict[str, list[Trial]] = {o: self._unfinished(o) for o in grid.objectives}

    def plan(self, processes: Processes) -> bool:
        """Tell Optuna what is new, end what it prunes, and start what it asks for where there is room.

        Returns:
            True while trials go on.
        """
        if not processes.states:
            self._add_earlier(processes)
        for objective, going in self.going.items():
            for trial in list(going):
                processes.add(trial.runs)
                if self._advance(objective, trial, processes):
                    going.remove(trial)
        while processes.idle and (objective := self._next()) is not None:
            trial = self._ask(objective)
            self.going[objective].append(trial)
            processes.add(trial.runs)
        return any(self.going.values())

    def _study(self, objective: str) -> Any:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name, storage = objective_name(objective), JournalStorage(JournalFileBackend(str(self.grid.folder / JOURNAL)))
        known = name in optuna.get_all_study_names(storage)
        done = len(optuna.load_study(study_name=name, storage=storage).trials) if known else 0
        # A sampler that begins again with the same seed would propose the same settings again.
        return optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=done),
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )

    def _unfinished(self, objective: str) -> list[Trial]:
        from optuna.trial import Trial as Live
        from optuna.trial import TrialState

        study = self.studies[objective]
        left = [t for t in study.get_trials(states=(TrialState.RUNNING,)) if SETTING in t.user_attrs]
        return [
            Trial(Live(study, t._trial_id), self._runs(objective, _setting(t)), max(t.intermediate_values, default=0))
            for t in left
        ]

    def _add_earlier(self, processes: Processes) -> None:
        """The runs of trials that were over when the sweep was called, so that they count too."""
        from optuna.trial import TrialState

        over = {TrialState.COMPLETE: State.FAILED, TrialState.FAIL: State.FAILED, TrialState.PRUNED: State.PRUNED}
        for objective, study in self.studies.items():
            for trial in study.get_trials(states=tuple(over)):
                if SETTING in trial.user_attrs:
                    processes.add(self._runs(objective, _setting(trial)), over[trial.state])

    def _runs(self, objective: str, setting: Setting) -> list[Run]:
        return [self.grid.run(objective, seed, setting) for seed in self.grid.select_seeds]

    def _next(self) -> str | None:
        """The objective with the fewest trials, of those that have not had all."""
        counts = {objective: len(study.trials) for objective, study in self.studies.items()}
        objective = min(counts, key=counts.__getitem__)
        return objective if counts[objective] < self.trials else None

    def _ask(self, objective: str) -> Trial:
        trial = self.studies[objective].ask(distributions(self.grid.axes))
        setting = tuple((name, _text(axis, trial.params[name])) for name, axis in self.grid.axes.items())
        trial.set_user_attr(SETTING, [list(pair) for pair in setting])
        return Trial(trial, self._runs(objective, setting))

    def _advance(self, objective: str, trial: Trial, processes: Processes) -> bool:
        """Whether the trial is over."""
        from optuna.trial import TrialState

        study, states = self.studies[objective], {processes.states[run] for run in trial.runs}
        histories = [read_history(run.folder) for run in trial.runs]
        for iteration, value in shared(histories, self.key, after=trial.reported):
            trial.trial.report(value, iteration)
            trial.reported = iteration
        if states == {State.DONE}:
            value = score(trial.runs, self.key)
            study.tell(trial.trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
        elif State.PRUNED in states or (trial.reported and trial.trial.should_prune()):
            processes.prune(trial.runs)
            study.tell(trial.trial, state=TrialState.PRUNED)
        elif State.FAILED in states and not states & {State.WAITING, State.RUNNING}:
            study.tell(trial.trial, state=TrialState.FAIL)
        else:
            return False
        return True


def distributions(axes: Mapping[str, Axis]) -> dict[str, Any]:
    """Optuna's search space."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: dict[str, Any] = {}
    for name, axis in axes.items():
        if not isinstance(axis, Range):
            space[name] = CategoricalDistribution(tuple(axis))
        elif axis.whole:
            space[name] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            space[name] = FloatDistribution(axis.low, axis.high, log=axis.log)
    return space


def shared(histories: Sequence[History], key: str, after: int) -> list[tuple[int, float]]:
    """(iteration, mean over the runs) of the evaluations that all of them have had, in order."""
    series = [history.get(key, {}) for history in histories]
    common = sorted(set.intersection(*(set(values) for values in series)))
    return [(x, sum(values[x] for values in series) / len(series)) for x in common if x > after]


def _text(axis: Axis, value: Any) -> str:
    return axis.text(value) if isinstance(axis, Range) else str(value)


def _setting(trial: Any) -> Setting:
    return tuple((name, value) for name, value in trial.user_attrs[SETTING])
