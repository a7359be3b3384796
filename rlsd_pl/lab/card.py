"""The model card of a lab policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlsd_pl.lab.measure import Measurement

_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [toy, arithmetic, rlsd]
---
# {title} of the rlsd_pl lab

A character-level Qwen3 that works out chains of digits, such as `3+4*2`, from left to right modulo 10:

    @%&3+4=7;&%@7*2=4;#4

{story}
The symbols before each step are random filler. It is of no use outside the lab.

## How it was made

    python scripts/pretrain_lab.py --output FOLDER{flags}

Next-token prediction on the completions of {sequences} demonstrations, on the CPU, with these settings
(each is a flag of the script):

| setting | value |
|---|---|
{settings}

## Measured

One completion for each of {eval_problems} held-out problems. *Hollow*: the answer does not follow from the steps that \
were written.

| hint | decoding | accuracy | hollow |
|---|---|---|---|
{results}
"""


_IMPERFECT = """\
It learned from an imperfect demonstrator, so it is wrong in known places and reinforcement learning has something to
repair: {misconceptions} of the 300 facts `a op b` were demonstrated with a fixed wrong result at probability \
{misconception_rate}, every other step with a random wrong result at probability {slip_rate}."""

_TRUE = "It learned from true chains, so it can teach others."

_HINTED = """
With the running values or the final answer of a chain before the prompt (`7,4|3+4*2` or `4|3+4*2`) it writes chains
that fit them, and at a share of {skip_share} states the answer at once (`#4`). Greedy decoding with a hint therefore
takes the shortcut nearly always, since no single filler symbol is likelier than `#`: look at the sampled rows."""


def render_card(settings: Mapping[str, Any], defaults: Mapping[str, Any], measurements: Sequence[Measurement]) -> str:
    """The card as Markdown with Hugging Face front matter.

    Args:
        settings: the nested pre-training config.
        defaults: the same without any flag.
        measurements: of the policy.
    """
    flat, usual = dict(_flatten(settings)), dict(_flatten(defaults))
    flagged = {name: value for name, value in flat.items() if value != usual[name]}
    wrong = bool(flat["demonstrator.misconception_rate"] or flat["demonstrator.slip_rate"])
    story = (_IMPERFECT if wrong else _TRUE) + (_HINTED if flat["demonstrator.hinted_share"] else "")
    return _CARD.format(
        title="Base policy" if wrong else "Expert",
        story=story.format(
            misconceptions=flat["demonstrator.world.misconceptions"],
            misconception_rate=flat["demonstrator.misconception_rate"],
            slip_rate=flat["demonstrator.slip_rate"],
            skip_share=flat["demonstrator.skip_share"],
        ),
        flags="".join(f" \\\n        --{name} {value}" for name, value in flagged.items()),
        sequences=flat["plan.steps"] * flat["plan.batch_size"],
        eval_problems=flat["eval_problems"],
        settings="\n".join(f"| `{name}` | {value} |" for name, value in flat.items()),
        results="\n".join(_result_row(measurement) for measurement in measurements),
    )


def _result_row(measurement: Measurement) -> str:
    hint, decoding = measurement.hint or "none", "sampled" if measurement.sample else "greedy"
    return f"| {hint} | {decoding} | {measurement.accuracy:.3f} | {measurement.hollow:.3f} |"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
