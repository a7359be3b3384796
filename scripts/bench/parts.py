"""Engines, shared prompts and draws against what they replace: both sides in this process, in turn; ratios.

python scripts/bench/parts.py engines [--work lab|28m]    # transformers, grouped, continuous: one rollout
python scripts/bench/parts.py prefixes [--work lab|28m]   # prompts of 1, 2 and 8 completions' length: encoded once?
python scripts/bench/parts.py draws [--work lab|28m]      # one step of sampling: by inversion or by multinomial
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from turns import Sides, in_turn, ratios
from works import WORKS, Work, prompt_texts, write_model

from rlsd_pl.engines import ContinuousEngine, GroupedEngine, TransformersEngine
from rlsd_pl.engines.draw import draw
from rlsd_pl.policy import Policy
from rlsd_pl.types import PaddedTokens, Sampling


def compare(title: str, sides: Sides, turns: int) -> None:
    """Print how many times faster than the first each of the other sides is."""
    taken = in_turn(sides, turns)
    first, *others = taken
    for other in others:
        print(f"{title}: {first} / {other} = {ratios(taken[first], taken[other])}", flush=True)


def engines(policy: Policy, work: Work, turns: int) -> None:
    """One rollout by each engine."""
    prompts = [policy.encode([{"role": "user", "content": text}]) for text in prompt_texts(work, work.prompts)]
    sampling = Sampling(work.completion, work.group)
    made = {"transformers": TransformersEngine(), "grouped": GroupedEngine(), "continuous": ContinuousEngine()}
    sides: Sides = {name: lambda e=engine: e.generate(policy, prompts, sampling, 0) for name, engine in made.items()}
    compare("rollout", sides, turns)


def prefixes(policy: Policy, work: Work, turns: int) -> None:
    """Scoring and update of whole groups."""
    size = policy.causal_lm.config.vocab_size

    def ids(rows: int, length: int) -> list[list[int]]:
        return torch.randint(6, size, (rows, length)).tolist()

    completions = PaddedTokens.completions(ids(work.prompts * work.group, work.completion), policy.pad_id)
    most = policy.causal_lm.config.max_position_embeddings - work.completion
    for factor in (1, 2, 8):
        length = min(factor * work.completion, most)
        repeated = [prompt for prompt in ids(work.prompts, length) for _ in range(work.group)]
        prompts = PaddedTokens.prompts(repeated, policy.pad_id)

        def score(shared: bool, prompts: PaddedTokens = prompts) -> torch.Tensor:
            policy.caches_prompts = shared
            return policy(prompts, completions, 1.0).logprobs

        def update(shared: bool) -> None:
            score(shared).sum().backward()
            policy.zero_grad()

        with torch.no_grad():
            compare(
                f"scoring, prompt of {length}", {"plain": lambda: score(False), "shared": lambda: score(True)}, turns
            )
        compare(f"update, prompt of {length}", {"plain": lambda: update(False), "shared": lambda: update(True)}, turns)


def draws(policy: Policy, work: Work, turns: int) -> None:
    """A token and its log-prob for each row of a batch."""
    logits = torch.randn(work.prompts * work.group, policy.causal_lm.config.vocab_size)
    generator = torch.Generator().manual_seed(0)

    def multinomial() -> None:
        table = logits.log_softmax(dim=-1)
        table.gather(1, torch.multinomial(table.exp(), 1, generator=generator))

    sides: Sides = {"multinomial": multinomial, "inversion": lambda: draw(logits.clone(), Sampling(1), generator)}
    compare(f"draw of {len(logits)} rows, V = {logits.shape[1]}", sides, turns)


PARTS: dict[str, Callable[[Policy, Work, int], None]] = {"engines": engines, "prefixes": prefixes, "draws": draws}


def main() -> None:
    """Read what to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--work", default="lab", choices=["lab", "28m"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = WORKS[options.work]
    with tempfile.TemporaryDirectory() as folder:
        PARTS[options.part](Policy.from_pretrained(str(write_model(work, Path(folder)))), work, options.turns)


if __name__ == "__main__":
    main()
