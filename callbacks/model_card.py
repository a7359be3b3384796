"""The README of an exported policy: what it was trained on, how, and what was measured."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from rlsd_pl.commands.runs import CONFIG_FILE, History, read_history
from rlsd_pl.functional import wilson_interval

SHOWN = {
    "val/greedy_accuracy": "greedy accuracy",
    "val/sampled_accuracy": "accuracy of a sample",
    "val/status_invalid": "samples without a readable answer",
    "val/truncated": "truncated samples",
    "val/length": "length of a sample (tokens)",
}
"""Rows of the table of evaluations, beside pass@k."""

SHARES = ("val/greedy_accuracy", "val/sampled_accuracy", "val/pass_at_")
"""Beginnings of keys that are shares of problems, and get an interval."""

LEAKAGE = {
    "leakage/phrase_rate": "completions that refer to unseen material",
    "leakage/hollow_rate": "answers that their own steps do not yield",
    "leakage/length_drift": "change of mean length since the first evaluation",
    "leakage/teacher_kl": "KL of policy to teacher by sampling (nats per token)",
}

ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


@dataclass(frozen=True)
class Training:
    """What a card tells of a run.

    Attributes:
        folder: of the run; its logs, configuration and data fingerprint are read where they are.
        base_model: as given to ``--model``: a name, a hub id or a folder.
        method: objective, teacher, context, verifier, ... by role.
        problems, samples: held-out problems of an evaluation and sampled completions of each.
        lora_rank: 0 for full training.
    """

    folder: Path
    base_model: str
    method: Mapping[str, object] = field(default_factory=dict)
    problems: int = 0
    samples: int = 0
    lora_rank: int = 0


def model_card(training: Training) -> ModelCard:
    """The card, with metadata that the hub reads."""
    history = read_history(training.folder)
    text = "\n\n".join(
        part
        for part in (
            f"# {training.folder.resolve().name}",
            _summary(training),
            _method(training.method),
            _evaluations(training, history),
            _leakage(history),
            _data(training.folder),
            _reproduction(training.folder),
        )
        if part
    )
    return ModelCard(f"---\n{_metadata(training, history).to_yaml()}\n---\n\n{text}\n")


def _metadata(training: Training, history: History) -> ModelCardData:
    published = _is_hub_id(training.base_model)
    return ModelCardData(
        base_model=training.base_model if published else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["rlsd_pl", "reinforcement-learning", type(training.method.get("objective")).__name__.lower()],
        model_name=training.folder.resolve().name,
        eval_results=_eval_results(training, history),
    )


def _eval_results(training: Training, history: History) -> list[EvalResult] | None:
    if not (series := history.get("val/greedy_accuracy")):
        return None
    task = training.method.get("task")
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=f"held-out problems of {getattr(task, 'name', type(task).__name__)}",
            metric_type="accuracy",
            metric_name="greedy accuracy",
            metric_value=round(series[max(series)], 6),
        )
    ]


def _is_hub_id(name: str) -> bool:
    return not Path(name).exists() and bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not name.startswith(".")


def _summary(training: Training) -> str:
    adapted = f", by low-rank adapters of rank {training.lora_rank}" if training.lora_rank else ""
    objective = type(training.method.get("objective")).__name__
    shown = training.base_model if _is_hub_id(training.base_model) else Path(training.base_model).name
    return f"`{shown}` trained with {objective} in rlsd_pl{adapted}."


def _method(method: Mapping[str, object]) -> str:
    rows = [(role, type(part).__name__, _papers(part)) for role, part in method.items() if part is not None]
    return "## Method\n\n" + _table(("part", "class", "papers"), rows) if rows else ""


def _papers(part: object) -> str:
    """arXiv ids from the docstrings of a part's class and of its module, where each formula is cited."""
    kind = type(part)
    module = inspect.getmodule(kind)
    texts = (module.__doc__ if module else None, kind.__doc__)
    found = dict.fromkeys(number for text in texts for number in ARXIV.findall(text or ""))
    return ", ".join(f"[{number}](https://arxiv.org/abs/{number})" for number in found)


# --- evaluation ------------------------------------------------------------------------------------------------------


def _evaluations(training: Training, history: History) -> str:
    keys = [key for key in history if key.startswith("val/pass_at_")]
    shown = SHOWN | {key: f"pass@{key.rpartition('_')[2]}" for key in keys if key != "val/pass_at_1"}
    rows = [
        (name, *(_share(key, history[key][at], training.problems) for at in _ends(history[key])))
        for key, name in shown.items()
        if key in history
    ]
    if not rows:
        return "## Evaluation\n\nThe run was not evaluated."
    note = (
        f"{training.problems} held-out problems, {training.samples} samples of each; 95 % Wilson intervals over "
        "problems. Those of samples count problems too, so they are rather too wide than too narrow."
    )
    return f"## Evaluation\n\n{_table(('held-out', *_iterations(history)), rows)}\n\n{note}"


def _ends(series: Mapping[int, float]) -> list[int]:
    """The first and the last iteration of a series; one where they are the same."""
    return sorted({min(series), max(series)})


def _iterations(history: History) -> list[str]:
    return [f"iteration {at}" for at in _ends(history["val/greedy_accuracy"])]


def _share(key: str, value: float, problems: int) -> str:
    if not key.startswith(SHARES) or not problems:
        return f"{value:.3f}"
    low, high = wilson_interval(value, problems)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _leakage(history: History) -> str:
    rows = [
        (name, *(f"{history[key][at]:.3f}" for at in _ends(history[key])))
        for key, name in LEAKAGE.items()
        if key in history
    ]
    if not rows:
        return ""
    return "## Leakage\n\nOf what the teacher alone has seen, on held-out problems.\n\n" + _table(
        ("sign", *_iterations(history)), rows
    )


# --- data and settings -----------------------------------------------------------------------------------------------


def _data(folder: Path) -> str:
    path = folder / "data.json"
    if not path.exists():
        return ""
    splits: dict[str, dict[str, Any]] = json.loads(path.read_text())
    rows = [
        (split, "endless" if found["problems"] is None else str(found["problems"]), f"`{found['blake2b']}`")
        for split, found in splits.items()
    ]
    return "## Data\n\n" + _table(("split", "problems", "fingerprint (BLAKE2b)"), rows)


def _reproduction(folder: Path) -> str:
    program = Path(sys.argv[0])
    called = ["python", f"{program.parent.name}/{program.name}"] if program.suffix == ".py" else [program.name]
    text = f"## Command\n\n```bash\n{shlex.join([*called, *sys.argv[1:]])}\n```"
    path = folder / CONFIG_FILE
    if not path.exists():
        return text
    return (
        f"{text}\n\nor `rlsd-pl fit --config {CONFIG_FILE}` with the resolved configuration:\n\n<details>\n"
        f"<summary>{CONFIG_FILE}</summary>\n\n```yaml\n{path.read_text().strip()}\n```\n\n</details>"
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])
