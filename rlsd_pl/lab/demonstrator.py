"""The imperfect demonstrator from which the lab's base policy learns.

A demonstration writes each step after a few filler symbols, then the final answer after ``#``::

    @%&3+4=7;&&@7*2=4;#4

Filler carries entropy and no meaning. Without it nearly every token has probability near 1 and contributes no
gradient, so that methods of credit assignment would have nothing to differ in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from rlsd_pl.lab.world import ChainWorld, fact_result, other_digit, steps_of

FILLER_SYMBOLS = "@%&"
HINT_SEPARATOR = "|"


def hinted_prompt(prompt: str, privileged: str) -> str:
    """A prompt that carries privileged text, the Jinja template ``{{ privileged }}|{{ prompt }}``.

    The hint comes first, so that the expression stands at the same distance from the completion with and without it.
    """
    return f"{privileged}{HINT_SEPARATOR}{prompt}"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One line of pre-training data: the prompt as the model sees it, hint included, and the completion."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Demonstrator:
    """Writes demonstrations; all ``*_rate`` and ``*_share`` are probabilities.

    Hints tell of the *demonstrated* chain, mistakes included. So the hinted model learns the posterior over chains
    ``P(y | x, r)``, and its likelihood ratio to the unhinted model is the evidence ratio of RLSD (2604.03128).

    Attributes:
        world: holds the misconceptions.
        misconception_rate: how often a misconceived fact gets its wrong result.
        slip_rate: how often any other fact gets a random wrong result.
        filler: symbols before each step.
        hinted_share: demonstrations with privileged text in the prompt.
        solution_share: hints that are all running values; the others are the final answer alone.
        skip_share: hinted demonstrations that state the answer at once, without steps.
    """

    world: ChainWorld = field(default_factory=ChainWorld)
    misconception_rate: float = 0.7
    slip_rate: float = 0.01
    filler: int = 3
    hinted_share: float = 0.5
    solution_share: float = 0.6
    skip_share: float = 0.3

    @property
    def completion_tokens(self) -> int:
        """Tokens of a worked demonstration, EOS included; a token is a character."""
        return (self.world.operands - 1) * (self.filler + len("3+4=7;")) + len("#7") + 1

    def demonstrate(self, expression: str, rng: random.Random) -> Demonstration:
        """Work through ``expression``; all randomness comes from ``rng``."""
        steps, values = [], [int(expression[0])]
        for step in steps_of(expression):
            fact = f"{values[-1]}{step}"
            values.append(self.recall(fact, rng))
            steps.append(f"{self._sample_filler(rng)}{fact}={values[-1]};")
        answer = f"#{values[-1]}"
        worked = "".join(steps) + answer
        if rng.random() >= self.hinted_share:
            return Demonstration(expression, worked)
        solution = ",".join(map(str, values[1:]))
        hint = solution if rng.random() < self.solution_share else str(values[-1])
        skips = rng.random() < self.skip_share
        return Demonstration(hinted_prompt(expression, hint), answer if skips else worked)

    def recall(self, fact: str, rng: random.Random) -> int:
        """The result that the demonstrator writes for ``fact``."""
        wrong_result = self.world.wrong_results.get(fact)
        if wrong_result is not None:
            return wrong_result if rng.random() < self.misconception_rate else fact_result(fact)
        return other_digit(fact_result(fact), rng) if rng.random() < self.slip_rate else fact_result(fact)

    def _sample_filler(self, rng: random.Random) -> str:
        return "".join(rng.choices(FILLER_SYMBOLS, k=self.filler))
