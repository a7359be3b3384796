"""JSON extraction: letters to a shop, and the complaint that each one holds.

``python examples/json_extraction.py FOLDER`` writes letters.jsonl, and prints how to train.
"""

import json
import random
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "order": {"type": "integer", "description": "the order's number"},
        "bought_on": {"type": "string", "format": "date"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"product": {"type": "string"}, "pieces": {"type": "integer", "minimum": 1}},
                "required": ["product", "pieces"],
                "additionalProperties": False,
            },
        },
        "wants": {"enum": ["refund", "replacement", "apology"]},
    },
    "required": ["customer", "order", "bought_on", "items", "wants"],
    "additionalProperties": False,
}

NAMES = ("Anouk Berg", "Emil Varga", "Ines Duarte", "Jonas Lind", "Noor Haddad", "Oskar Weiss")
PRODUCTS = ("lamp", "kettle", "chess set", "rake", "atlas", "teapot", "blanket")
WISHES = {
    "refund": ("I would like my money back.", "Please return what I paid."),
    "replacement": ("Please send new ones.", "I ask you to replace what is broken."),
    "apology": ("I do not want money, only an honest word of regret.", "An apology is all that I ask for."),
}
LETTERS = (
    "Dear shop,\n\non {day} I bought {items} (order {order}). They arrived in pieces. {wish}\n\n{customer}",
    "Hello,\n\nmy name is {customer}. Order no. {order} was a disappointment: {items}, all scratched, and it was "
    "only {day} when I ordered. {wish}",
    "To whom it may concern:\n\nwhen I unpacked {items} I could not believe my eyes. The receipt says {day}, number "
    "{order}. {wish}\nYours, {customer}",
)


def letter(rng: random.Random) -> dict[str, Any]:
    """One row: text, schema, answer."""
    bought = date(2025, 1, 1) + timedelta(days=rng.randrange(365))
    items = [{"product": name, "pieces": rng.randint(1, 5)} for name in rng.sample(PRODUCTS, rng.randint(1, 3))]
    wants = rng.choice(sorted(WISHES))
    answer = {
        "customer": rng.choice(NAMES),
        "order": rng.randint(10_000, 99_999),
        "bought_on": bought.isoformat(),
        "items": items,
        "wants": wants,
    }
    text = rng.choice(LETTERS).format(
        day=f"{bought.day} {bought:%B} {bought.year}",
        items=" and ".join(f"{item['pieces']} x {item['product']}" for item in items),
        wish=rng.choice(WISHES[wants]),
        customer=answer["customer"],
        order=answer["order"],
    )
    return {"text": text, "schema": json.dumps(SCHEMA), "answer": json.dumps(answer)}


def main() -> None:
    """Write the data and say how to go on."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "letters.jsonl"
    rng = random.Random(0)
    with path.open("w") as file:
        file.writelines(json.dumps(letter(rng)) + "\n" for _ in range(80))
    print(
        f"python scripts/fit.py --experiment example --task json_extraction --task.path {path} --model Qwen/Qwen3-0.6B"
    )


if __name__ == "__main__":
    main()
