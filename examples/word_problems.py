"""Arithmetic word problems with worked solutions, for a small model on a CPU.

``python examples/word_problems.py FOLDER`` writes three files of JSON lines (problem, answer, solution, template), and
prints how to train:

- ``train.jsonl``: 2,000 problems, from ten templates;
- ``val.jsonl``: 200 held-out problems from the same templates;
- ``shift.jsonl``: 200 problems from a template of which training has seen none: two steps of different kinds, in other
  words.
"""

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Row = dict[str, str]
"""problem, answer, solution, template; the solution ends in the line ``#### answer``."""

NAMES = ("Ada", "Ben", "Chen", "Dina", "Eli", "Fay", "Gus", "Hana", "Ivan", "Jana", "Kofi", "Lena", "Milo", "Nora")
THINGS = ("apples", "books", "cards", "coins", "eggs", "marbles", "pens", "shells", "stamps", "stickers")
SIZES = {"train": 2000, "val": 200, "shift": 200}


def _row(problem: str, steps: str, answer: int) -> Row:
    return {"problem": problem, "answer": str(answer), "solution": f"{steps}\n#### {answer}"}


def total(rng: random.Random) -> Row:
    """Sum of two numbers of two digits."""
    (one, other), thing = rng.sample(NAMES, 2), rng.choice(THINGS)
    a, b = rng.randint(11, 89), rng.randint(11, 89)
    return _row(
        f"{one} has {a} {thing} and {other} has {b} {thing}. How many {thing} do they have together?",
        f"Together they have {a} + {b} = {a + b} {thing}.",
        a + b,
    )


def left(rng: random.Random) -> Row:
    """Difference of two numbers of two digits."""
    name, thing, a = rng.choice(NAMES), rng.choice(THINGS), rng.randint(30, 99)
    b = rng.randint(11, a - 5)
    return _row(
        f"{name} had {a} {thing} and gave away {b} of them. How many {thing} are left?",
        f"There are {a} - {b} = {a - b} {thing} left.",
        a - b,
    )


def more(rng: random.Random) -> Row:
    """Difference between two owners."""
    (one, other), thing, a = rng.sample(NAMES, 2), rng.choice(THINGS), rng.randint(30, 99)
    b = rng.randint(11, a - 5)
    return _row(
        f"{one} collected {a} {thing}. {other} collected {b}. How many more {thing} did {one} collect?",
        f"{one} collected {a} - {b} = {a - b} more.",
        a - b,
    )


def before(rng: random.Random) -> Row:
    """A sum told as its parts in time."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, b = rng.randint(11, 79), rng.randint(11, 79)
    return _row(
        f"After selling {a} {thing}, {name} still has {b}. How many {thing} were there at first?",
        f"At first there were {a} + {b} = {a + b} {thing}.",
        a + b,
    )


def boxes(rng: random.Random) -> Row:
    """Product of two small numbers."""
    name, thing, a, b = rng.choice(NAMES), rng.choice(THINGS), rng.randint(3, 9), rng.randint(4, 12)
    return _row(
        f"{name} fills {a} boxes with {b} {thing} each. How many {thing} is that?",
        f"That is {a} * {b} = {a * b} {thing}.",
        a * b,
    )


def remainder(rng: random.Random) -> Row:
    """What a division leaves over."""
    thing, per, bags = rng.choice(THINGS), rng.randint(3, 9), rng.randint(3, 11)
    rest = rng.randint(1, per - 1)
    count = per * bags + rest
    return _row(
        f"{count} {thing} are packed into bags of {per}. How many {thing} are left over?",
        f"{bags} bags hold {bags} * {per} = {per * bags}, and {count} - {per * bags} = {rest} are left over.",
        rest,
    )


def change(rng: random.Random) -> Row:
    """Money: a product and a difference."""
    name, thing, pieces, price = rng.choice(NAMES), rng.choice(THINGS), rng.randint(2, 9), rng.randint(2, 9)
    cost = pieces * price
    paid = (cost // 10 + rng.randint(1, 3)) * 10
    return _row(
        f"{name} buys {pieces} {thing} at {price} dollars each and pays with {paid} dollars. How much change is that?",
        f"They cost {pieces} * {price} = {cost}. The change is {paid} - {cost} = {paid - cost} dollars.",
        paid - cost,
    )


def pay(rng: random.Random) -> Row:
    """Money: a product and a sum."""
    name, hours, rate, extra = rng.choice(NAMES), rng.randint(3, 9), rng.randint(5, 12), rng.randint(5, 30)
    wage = hours * rate
    return _row(
        f"{name} works {hours} hours for {rate} dollars an hour and gets a tip of {extra} dollars. How much is earned?",
        f"The work pays {hours} * {rate} = {wage}. With the tip it is {wage} + {extra} = {wage + extra} dollars.",
        wage + extra,
    )


def bus(rng: random.Random) -> Row:
    """A difference and a sum."""
    a, on = rng.randint(25, 60), rng.randint(5, 30)
    off = rng.randint(5, 20)
    return _row(
        f"A bus has {a} riders. At a stop {off} get off and {on} get on. How many riders are there now?",
        f"{a} - {off} = {a - off} stay, and {a - off} + {on} = {a - off + on} riders are there now.",
        a - off + on,
    )


def share(rng: random.Random) -> Row:
    """A sum, then an even division."""
    (one, other), thing, each = rng.sample(NAMES, 2), rng.choice(THINGS), rng.randint(11, 45)
    a = rng.randint(5, 2 * each - 5)
    b = 2 * each - a
    return _row(
        f"{one} has {a} {thing}, {other} has {b}. They share all of them evenly. How many does each get?",
        f"Together they have {a} + {b} = {2 * each}. Each gets {2 * each} / 2 = {each}.",
        each,
    )


def pages(rng: random.Random) -> Row:
    """Held out: a product, then a difference, in words that no other template uses."""
    name, days, rate, rest = rng.choice(NAMES), rng.randint(3, 9), rng.randint(5, 12), rng.randint(5, 40)
    length = days * rate + rest
    return _row(
        f"A novel of {length} pages: {name} reads {rate} pages a day for {days} days. How many pages remain unread?",
        f"{name} reads {days} * {rate} = {days * rate}. {length} - {days * rate} = {rest} pages remain.",
        rest,
    )


TEMPLATES: tuple[Callable[[random.Random], Row], ...] = (
    total, left, more, before, boxes, remainder, change, pay, bus, share,
)  # fmt: skip
HELD_OUT = (pages,)


def problems(templates: Iterable[Callable[[random.Random], Row]], rng: random.Random) -> Iterator[Row]:
    """Endless rows, the templates in turn, no problem twice."""
    templates, seen = list(templates), set[str]()
    while True:
        for template in templates:
            row = template(rng)
            while row["problem"] in seen:
                row = template(rng)
            seen.add(row["problem"])
            yield row | {"template": template.__name__}


def main() -> None:
    """Write the files and say how to go on."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    known, unknown = problems(TEMPLATES, random.Random(0)), problems(HELD_OUT, random.Random(1))
    for name, size in SIZES.items():
        source = unknown if name == "shift" else known
        lines = [json.dumps(next(source)) + "\n" for _ in range(size)]
        random.Random(2).shuffle(lines)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    data = f"--task word_problems --task.path {folder}/train.jsonl --task.val_path {folder}/val.jsonl"
    print(f"python scripts/fit.py --objective sft --experiment real_sft {data} --model real/smollm2")


if __name__ == "__main__":
    main()
