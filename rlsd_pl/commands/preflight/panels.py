"""What was found, as tables that the terminal and the page show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlsd_pl.commands.estimate import duration
from rlsd_pl.commands.preflight.advice import advice
from rlsd_pl.commands.preflight.charts import Chart, histogram, histograms
from rlsd_pl.commands.preflight.figures import quantiles
from rlsd_pl.commands.preflight.measure import Findings
from rlsd_pl.commands.preflight.plan import human
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.types import Rollout, Status

EXAMPLES = 4

END = 240
"""Characters of a completion that an example shows."""


@dataclass(frozen=True)
class Panel:
    """A table with its heading.

    Attributes:
        head: column heads; the first column names the row.
        note: below the table.
        charts: on the page alone.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    charts: Sequence[Chart] = ()


def panels(findings: Findings, data: RolloutDataModule) -> list[Panel]:
    """All that there is something to say in."""
    made = [_signal(findings, data), _statuses(findings), _rules(findings), _examples(findings), _lengths(findings)]
    made += [_teacher(findings), _time(findings), _plan(findings), _changes(findings, data)]
    return [panel for panel in made if panel.rows]


def _signal(f: Findings, data: RolloutDataModule) -> Panel:
    size = data.sampling.completions
    rewards = [r.verdict.reward for r in f.rollouts if r.verdict.status is not Status.ERROR]
    rows = [
        ("pass@1", str(f.pass_at_1)),
        (f"pass@{size}", str(f.pass_at_group)),
        ("greedy, one completion each", str(f.greedy)),
        ("groups with a signal", str(f.signal)),
        ("mean reward", f"{sum(rewards) / len(rewards):.3f}" if rewards else "-"),
    ]
    note = (
        f"{len(f.groups)} problems x {size} completions at temperature {f.temperature:g}. Intervals: Wilson, 95 %; "
        "completions of one problem count for fewer where they resemble one another."
    )
    return Panel("Can it learn?", ("", "share (95 %)"), rows, note)


def _statuses(f: Findings) -> Panel:
    return Panel("Completions by status", ("status", "share (95 %)"), [(s.value, str(f.status(s))) for s in Status])


def _rules(f: Findings) -> Panel:
    rows = [
        (rule.name + (" (this run)" if rule.own else ""), str(rule.extracted), str(rule.accuracy)) for rule in f.rules
    ]
    asked = f"The prompt asked: {f.instruction}" if f.instruction else "The prompt asked for no form."
    note = f"{asked} Under another rule it would ask otherwise. Lenient rules count what was not meant as an answer."
    return Panel("Extraction rules on the same completions", ("rule", "finds an answer", "right"), rows, note)


def _examples(f: Findings) -> Panel:
    invalid = [r for r in f.rollouts if r.verdict.status is Status.INVALID]
    reasons: dict[str, Rollout] = {}
    problems: dict[str, Rollout] = {}
    for rollout in invalid:
        reasons.setdefault(rollout.verdict.detail, rollout)
        problems.setdefault(rollout.problem.id, rollout)
    # Each reason first, then other problems, then whatever there is; a rollout is shown once.
    shown = list({id(r): r for r in (*reasons.values(), *problems.values(), *invalid)}.values())[:EXAMPLES]
    rows = [(r.problem.id, r.verdict.detail or "-", _end(r.completion.text)) for r in shown]
    missed = f"Instruction that they missed: {f.instruction}" if f.instruction else ""
    return Panel("Without a usable answer", ("problem", "reason", "end of the completion"), rows, missed)


def _lengths(f: Findings) -> Panel:
    completions = [len(r.completion.token_ids) for r in f.rollouts]
    lengths = {"completions": completions, "prompts": f.prompts}
    if f.teacher is not None and f.teacher.prompts:
        lengths["teacher's prompts"] = f.teacher.prompts
    rows = [(name, *(f"{value:.0f}" for value in quantiles(values))) for name, values in lengths.items()]
    note = f"Truncated at data.max_completion_tokens={f.max_tokens}: {f.truncated}."
    charts = [histogram("completion length, tokens; line: the limit", completions, marker=f.max_tokens)]
    charts += [histogram(f"{name}, tokens", values) for name, values in list(lengths.items())[1:]]
    return Panel("Lengths in tokens", ("", "10 %", "median", "90 %", "longest"), rows, note, charts)


def _teacher(f: Findings) -> Panel:
    if (teacher := f.teacher) is None:
        return Panel("The teacher", (), ())
    rows = [
        ("right, hinted: its weights under its prompt", str(teacher.hinted)),
        ("right, bare: the policy on the same problems", str(teacher.bare)),
        ("completions with a context", str(teacher.shown)),
        ("evidence on right completions, nats per token", _mean(teacher.right)),
        ("evidence on wrong completions", _mean(teacher.wrong)),
        ("AUROC, right above wrong", "-" if teacher.auroc is None else f"{teacher.auroc:.2f}"),
    ]
    if teacher.looked_at:
        of = f"of {teacher.looked_at}"
        rows += [
            ("privileged text absent or blank", f"{teacher.blank} {of}"),
            ("privileged text stands in the problem already", f"{teacher.known} {of}"),
            ("answer stands in the problem, maybe by chance", f"{teacher.answers_known} {of}"),
        ]
    charts = histograms("evidence, nats per token", {"right": teacher.right, "wrong": teacher.wrong})
    note = (
        "Evidence: log P_T - log P_S of the sampled tokens. An AUROC of .5 says nothing, above it points the right way."
    )
    return Panel("The teacher", ("", ""), rows, note, charts)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):+.4f} ({len(values)} completions)" if values else "-"


def _time(f: Findings) -> Panel:
    rows = [(f"iteration: {phase}", duration(seconds)) for phase, seconds in f.seconds.items()]
    rows += [
        ("iteration", duration(f.time.iteration_seconds)),
        (
            f"evaluation: {f.held_out} problems x (1 greedy + {f.samples} sampled)",
            duration(f.time.evaluation_seconds) if f.time.evaluations else "none",
        ),
        ("whole run", str(f.time)),
        ("tokens per second, sampling", f"{f.tokens_per_second:.0f}"),
        ("peak memory in use", human(f.peak)),
    ]
    shared = f", shared by {f.processes} processes, which have to wait for one another" if f.processes > 1 else ""
    note = (
        f"Measured on one {f.device}{shared}; in proportion to completions, so a device that decodes many at once "
        "may be faster. Without the optimizer's step, checkpoints and export."
    )
    return Panel("Time", ("", ""), rows, note)


def _plan(f: Findings) -> Panel:
    rows = []
    for m in f.plan:
        name = f"{m.devices}" if m.devices == 1 else f"{m.devices} {'fsdp' if m.sharded else 'ddp'}"
        parts = (m.weights, m.gradients, m.optimizer, m.gathered, m.activations, m.cache, m.peak)
        rows.append((name, *map(human, parts)))
    head = ("devices", "weights", "gradients", "optimizer", "gathered", "activations", "KV cache", "peak of each")
    note = (
        "Worked out for sequences of full length: the longest prompt and data.max_completion_tokens. Formulas and "
        "sources: rlsd_pl/commands/preflight/plan.py. Libraries and fragmentation come on top."
    )
    return Panel("Memory plan, each device", head, rows, note)


def _changes(f: Findings, data: RolloutDataModule) -> Panel:
    rows = [(f"{n}. {each.what}", each.why, each.how) for n, each in enumerate(advice(f, data), start=1)]
    head = ("what to change, in this order", "why", "how")
    return Panel("What to change", head, rows or [("nothing", "no figure above asks for it", "")])


def _end(text: str) -> str:
    """The end of a text in one line, as printable characters: it is the model's and may hold anything."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return ("..." if len(shown) > END else "") + shown[-END:].strip()
