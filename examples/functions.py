"""Unit-tested functions: small list problems with hidden tests and a reference solution.

``python examples/functions.py FOLDER`` writes functions.jsonl, and prints how to train.
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Numbers = list[int]

SELECTIONS: dict[str, tuple[str, Callable[[int, int], bool]]] = {
    "even": ("n % 2 == 0", lambda n, k: n % 2 == 0),
    "odd": ("n % 2 == 1", lambda n, k: n % 2 == 1),
    "above_{k}": ("n > {k}", lambda n, k: n > k),
    "below_{k}": ("n < {k}", lambda n, k: n < k),
    "divisible_by_{k}": ("n % {k} == 0", lambda n, k: n % k == 0),
}
REDUCTIONS: dict[str, tuple[str, str, Callable[[Numbers], int]]] = {
    "sum": ("the sum", "sum(chosen)", sum),
    "count": ("the number", "len(chosen)", len),
    "largest": ("the largest, or 0 if there is none,", "max(chosen, default=0)", lambda chosen: max(chosen, default=0)),
    "distinct": ("the number of different ones", "len(set(chosen))", lambda chosen: len(set(chosen))),
}


def task(rng: random.Random, selection: str, reduction: str, k: int) -> dict[str, Any]:
    """One row in HumanEval's form."""
    condition, keep = SELECTIONS[selection]
    words, expression, reduce = REDUCTIONS[reduction]
    chosen = selection.format(k=k)
    name = f"{reduction}_of_{chosen}"
    selected = f"[n for n in numbers if {condition.format(k=k)}]"
    cases = [[rng.randint(-20, 40) for _ in range(rng.randint(0, 9))] for _ in range(8)]
    tests = [f"    assert candidate({case}) == {reduce([n for n in case if keep(n, k)])}\n" for case in cases]
    return {
        "prompt": f'def {name}(numbers: list[int]) -> int:\n    """Return {words} of the numbers that are '
        f'{chosen.replace("_", " ")}."""\n',
        "entry_point": name,
        "canonical_solution": f"    chosen = {selected}\n    return {expression}\n",
        "test": "def check(candidate):\n" + "".join(tests),
    }


def main() -> None:
    """Write the data and say how to go on."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "functions.jsonl"
    rng = random.Random(0)
    wanted = {
        (selection, reduction, k if "{k}" in selection else 0)
        for selection in SELECTIONS
        for reduction in REDUCTIONS
        for k in range(3, 8)
    }
    with path.open("w") as file:
        file.writelines(json.dumps(task(rng, *choice)) + "\n" for choice in sorted(wanted))
    print(f"python scripts/fit.py --experiment example --task humaneval --task.path {path} --model Qwen/Qwen3-0.6B")


if __name__ == "__main__":
    main()
