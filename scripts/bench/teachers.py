"""An iteration of RLSD, CEPO and OPSD against one of RLVR, for teacher prompts of several lengths; all in turn.

python scripts/bench/teachers.py [--work lab|28m] [--factors 1 2 8] [--objectives rlsd cepo opsd] [--turns 5]

Policies, prompts, draws and completions of all sides are the same. Beside each ratio stands what it could be: by the
operations of the model, and 1 + (1 - g) / 3 for one more forward, g being the share of sampling in RLVR's iteration.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from phases import Phases
from rich.console import Console
from rich.table import Table
from turns import in_turn, ratios
from works import WORKS, Work, write_model

from rlsd_pl import objectives

TEACHERS = {"rlsd": objectives.RLSD, "cepo": objectives.CEPO, "opsd": objectives.OPSD}


def privileged_tokens(work: Work, phases: Phases, factor: float) -> int:
    """Tokens of privileged text with which the teacher's prompt is ``factor`` completions long, as far as the model's
    positions go."""
    prompt = max(map(len, phases.sampler.prompts(phases.problems)))
    positions = phases.policy.causal_lm.config.max_position_embeddings
    length = min(int(factor * work.completion), positions - work.completion)
    return max(1, length - prompt)


def operations(phases: Phases) -> float:
    """Model FLOPs of an iteration."""
    return phases.collect().sums["perf/model_flops"][0]


def sampling_share(phases: Phases, turns: int) -> float:
    """Of the iteration, median."""
    batch = phases.collect().batch
    taken = in_turn({"rollout": phases.rollout, "update": lambda: phases.update(batch)}, turns)
    return statistics.median(r / (r + u) for r, u in zip(taken["rollout"], taken["update"], strict=True))


def main() -> None:
    """All sides in turn; a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="lab", choices=list(WORKS))
    parser.add_argument("--factors", type=float, nargs="+", default=[1, 2, 8])
    parser.add_argument("--objectives", nargs="+", default=list(TEACHERS), choices=list(TEACHERS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work, console = WORKS[options.work], Console()
    table = Table("teacher's prompt", "objective", "over RLVR: median (range)", "by operations", title=options.work)
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(work, Path(folder))
        plain = Phases(work, model, objectives.RLVR())
        share, least = sampling_share(plain, options.turns), operations(plain)
        for factor in options.factors:
            privileged = privileged_tokens(work, plain, factor)
            made = {name: Phases(work, model, TEACHERS[name](), privileged) for name in options.objectives}
            sides = {"rlvr": plain.iteration, **{name: phases.iteration for name, phases in made.items()}}
            taken = in_turn(sides, options.turns)
            for name, phases in made.items():
                length = max(len(ids) for ids in teacher_prompts(phases))
                by_operations = f"{operations(phases) / least:.2f}"
                table.add_row(f"{length} tokens", name, ratios(taken[name], taken["rlvr"]), by_operations)
    console.print(table)
    console.print(f"g = {share:.0%} of RLVR's iteration is sampling; one more forward: {1 + (1 - share) / 3:.2f}")


def teacher_prompts(phases: Phases) -> list[list[int]]:
    """Token ids of (x, r) for each problem."""
    context = phases.module.context
    chats = [context.messages(problem, problem.privileged["solution"]) for problem in phases.problems]
    return [phases.policy.encode(chat) for chat in chats]


if __name__ == "__main__":
    main()
