"""Figures and tables of docs/real-model.md, from the folders that its commands have written."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlsd_pl.callbacks.model_card import LEAKAGE
from rlsd_pl.commands.credit_map import plot_credit_map
from rlsd_pl.commands.help import fail
from rlsd_pl.commands.pages import filled, markdown_table
from rlsd_pl.commands.plots import styles
from rlsd_pl.commands.runs import History, read_history
from rlsd_pl.functional import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rlsd_pl.types import Problem

PANELS = {
    "rollout/reward": "reward of rollouts",
    "val/greedy_accuracy": "greedy accuracy, held out",
    "val/sampled_accuracy": "sampled accuracy, held out",
    "train/entropy": "entropy (nats)",
    "rollout/length": "completion length (tokens)",
    "leakage/teacher_kl": "KL to the teacher (nats)",
}

EVALUATED = {"val": "trained templates", "shift": "unseen template"}
"""Endings of the evaluations' files, and what they say to people."""

SECONDS = ("perf/rollout_seconds", "perf/update_seconds")


class Run(NamedTuple):
    """One run of the study."""

    objective: str
    seed: str
    folder: Path
    history: History

    @property
    def name(self) -> str:
        return f"{self.objective}-{self.seed}"


def main(argv: Sequence[str]) -> None:
    """Draw the figures beside the page and fill in its marked places."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=Path("real"), help="holds sft/, study/ and evaluations/")
    parser.add_argument("--page", type=Path, default=Path("docs/real-model.md"))
    parser.add_argument("--samples", type=int, default=3, help="held-out problems to complete; 0 loads no model")
    options = parser.parse_args(list(argv))
    runs = runs_of(options.root / "study")
    if not runs:
        fail(f"{options.root / 'study'} holds no run with a logged iteration. Set --root to the study's folder.")
    page = options.page.read_text()
    plot_curves(runs, options.page.with_name("real-model-curves.png"))
    plot_trace(runs, options.page.with_name("real-model-credit.png"))
    page = filled(page, "results", results(options.root / "evaluations", runs))
    page = filled(page, "leakage", leakage(runs))
    page = filled(page, "time", times(options.root / "sft", runs))
    if options.samples:
        page = filled(page, "samples", samples(options.root, runs, options.samples))
    options.page.write_text(page)


def runs_of(study: Path) -> list[Run]:
    """The runs of a sweep's folder, ``OBJECTIVE/seed-N``, that have logged something."""
    found = sorted(study.glob("*/seed-*"))
    runs = [
        Run(folder.parent.name, folder.name.removeprefix("seed-"), folder, read_history(folder)) for folder in found
    ]
    return [run for run in runs if run.history]


# --- figures ---------------------------------------------------------------------------------------------------------


def plot_curves(runs: Sequence[Run], path: Path) -> None:
    """Each seed as a line, in the colour of its objective."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    objectives = list(dict.fromkeys(run.objective for run in runs))
    drawn = dict(zip(objectives, styles(len(objectives)), strict=True))
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    for position, (key, label) in enumerate(PANELS.items(), start=1):
        axes = figure.add_subplot(2, 3, position)
        for run in runs:
            _draw(axes, run, key, drawn[run.objective])
        axes.set(xlabel="iteration", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
    figure.legend(first.values(), first.keys(), loc="outside lower center", ncols=len(first), frameon=False)
    figure.savefig(path, dpi=130)


def _draw(axes: Axes, run: Run, key: str, style: Any) -> None:
    series = sorted(run.history.get(key, {}).items())
    axes.plot(
        [x for x, _ in series], [y for _, y in series],
        color=style.colour, linestyle=style.dashes, linewidth=1.5, marker="." if len(series) < 6 else "",
        label=run.objective,
    )  # fmt: skip


def plot_trace(runs: Sequence[Run], path: Path) -> None:
    """Credit of RLSD on one group: its first recorded one with right and wrong completions."""
    for run in runs:
        if run.objective == "rlsd":
            for group in _groups(run.folder / "rollouts.jsonl"):
                if len({record["reward"] for record in group}) > 1:
                    plot_credit_map(group[:6], path)
                    return


def _groups(path: Path) -> Iterator[list[dict[str, Any]]]:
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        groups.setdefault((record["iteration"], record["problem"]), []).append(record)
    yield from groups.values()


# --- tables ----------------------------------------------------------------------------------------------------------


def results(folder: Path, runs: Sequence[Run]) -> str:
    """Greedy accuracy of the warm start and of every run, with 95 % Wilson intervals over problems."""
    heads = ["policy", *(f"{label}, greedy" for label in EVALUATED.values())]
    rows = []
    for name in ("sft", *(run.name for run in runs)):
        found = [folder / f"{name}-{ending}.json" for ending in EVALUATED]
        measured = [json.loads(path.read_text()) if path.exists() else None for path in found]
        rows.append([name, *map(_accuracy, measured)])
    return markdown_table(heads, *rows)


def _accuracy(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    value = result["metrics"]["greedy_accuracy"]
    low, high = wilson_interval(value, result["problems"])
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


def leakage(runs: Sequence[Run]) -> str:
    """Each sign of leakage before training and after the last iteration."""
    signs = {key: name for key, name in LEAKAGE.items() if any(key in run.history for run in runs)}
    rows = [[run.name, *(_before_after(run.history.get(key, {})) for key in signs)] for run in runs]
    return markdown_table(["run", *signs.values()], *rows)


def _before_after(series: Mapping[int, float]) -> str:
    return f"{series[min(series)]:.3f} to {series[max(series)]:.3f}" if series else ""


def times(sft: Path, runs: Sequence[Run]) -> str:
    """Seconds of rollouts, and of updates with the evaluations that came behind them."""
    histories = {"sft": read_history(sft), **{run.name: run.history for run in runs}}
    rows = [
        [name, str(len(history.get(SECONDS[1], {}))), *(f"{sum(history.get(key, {}).values()):.0f}" for key in SECONDS)]
        for name, history in histories.items()
    ]
    return markdown_table(["run", "iterations", "rollouts (s)", "updates and evaluations (s)"], *rows)


def samples(root: Path, runs: Sequence[Run], count: int) -> str:
    """Greedy completions of the same held-out problems by the warm start and by one seed of each objective."""
    import yaml

    from rlsd_pl.tasks import TableTask

    config = yaml.safe_load((root / "sft" / "config.yaml").read_text())
    task = TableTask(**config["task"]["init_args"])
    problems = [task.problem("val", index) for index in range(count)]
    first = {run.objective: run.folder for run in reversed(runs)}
    policies = {"sft": root / "sft", **dict(sorted(first.items()))}
    limit = config["data"]["max_completion_tokens"]
    said = {name: completions(folder / "hf", problems, limit) for name, folder in policies.items()}
    return "\n\n".join(
        f"*{problem.prompt}* ({problem.answer})\n\n"
        + markdown_table(["policy", "greedy completion"], *([name, texts[n]] for name, texts in said.items()))
        for n, problem in enumerate(problems)
    )


def completions(model: Path, problems: Sequence[Problem], limit: int) -> list[str]:
    """Greedy completions of a model's folder, as cells of a table."""
    from rlsd_pl.engines import TransformersEngine
    from rlsd_pl.policy import Policy
    from rlsd_pl.rollout.sampler import student_messages
    from rlsd_pl.types import Sampling
    from rlsd_pl.verifiers import MathVerifier
    from rlsd_pl.verifiers.extraction import HashLine

    policy, verifier = Policy.from_pretrained(str(model)), MathVerifier(HashLine())
    prompts = [policy.encode(student_messages(problem, verifier)) for problem in problems]
    answers = TransformersEngine().generate(policy, prompts, Sampling(limit, 1, 0.0), seed=0)
    return [group[0].text.strip().replace("|", "\\|").replace("\n", "<br>") for group in answers]
