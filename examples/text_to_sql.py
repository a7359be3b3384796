"""Text-to-SQL on a small shop: builds the database and the questions.

``python examples/text_to_sql.py FOLDER`` writes shop.sqlite and questions.jsonl, and prints how to train.
"""

import json
import random
import sqlite3
import sys
from pathlib import Path

SCHEMA = """\
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  product_id INTEGER NOT NULL REFERENCES products (id),
  pieces INTEGER NOT NULL,
  year INTEGER NOT NULL
);"""

CITIES = ("Bergen", "Cadiz", "Graz", "Lyon", "Tartu")
CATEGORIES = ("books", "garden", "kitchen", "toys")
YEARS = range(2021, 2026)

TEMPLATES = [
    ("How many customers live in {city}?", "SELECT COUNT(*) FROM customers WHERE city = '{city}'"),
    (
        "List the names of the products in {category} that cost more than {cents} cents, the dearest first.",
        "SELECT name FROM products WHERE category = '{category}' AND cents > {cents} ORDER BY cents DESC",
    ),
    (
        "How many pieces of each category were ordered in {year}? Give category and number.",
        "SELECT category, SUM(pieces) FROM orders JOIN products ON products.id = product_id "
        "WHERE year = {year} GROUP BY category",
    ),
    (
        "How many cents did customers from {city} spend in {year}?",
        "SELECT SUM(pieces * cents) FROM orders JOIN products ON products.id = product_id "
        "JOIN customers ON customers.id = customer_id WHERE city = '{city}' AND year = {year}",
    ),
    (
        "Which customers from {city} never ordered anything in {category}? Give their ids.",
        "SELECT id FROM customers WHERE city = '{city}' AND id NOT IN (SELECT customer_id FROM orders "
        "JOIN products ON products.id = product_id WHERE category = '{category}')",
    ),
]


def build_shop(path: Path, rng: random.Random) -> sqlite3.Connection:
    """60 customers, 40 products and 400 orders."""
    path.unlink(missing_ok=True)
    shop = sqlite3.connect(path)
    with shop:
        shop.executescript(SCHEMA)
        customers = [(n, f"Customer {n}", rng.choice(CITIES)) for n in range(1, 61)]
        products = [(n, f"Product {n}", rng.choice(CATEGORIES), 50 * rng.randint(2, 200)) for n in range(1, 41)]
        orders = [
            (n, rng.randint(1, 60), rng.randint(1, 40), rng.randint(1, 9), rng.choice(YEARS)) for n in range(1, 401)
        ]
        shop.executemany("INSERT INTO customers VALUES (?, ?, ?)", customers)
        shop.executemany("INSERT INTO products VALUES (?, ?, ?, ?)", products)
        shop.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", orders)
    return shop


def questions(shop: sqlite3.Connection, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Different questions, each with its reference query; an answer without rows would reward any empty result."""
    made: dict[str, str] = {}
    while len(made) < count:
        question, query = rng.choice(TEMPLATES)
        values = {
            "city": rng.choice(CITIES),
            "category": rng.choice(CATEGORIES),
            "year": rng.choice(YEARS),
            "cents": 100 * rng.randint(5, 60),
        }
        if shop.execute(query.format(**values)).fetchall():
            made[question.format(**values)] = query.format(**values)
    return list(made.items())


def main() -> None:
    """Write the data and say how to go on."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    shop = build_shop(folder / "shop.sqlite", rng)
    path = folder / "questions.jsonl"
    with path.open("w") as file:
        for question, query in questions(shop, 80, rng):
            row = {"question": question, "query": query, "schema": SCHEMA, "database": "shop.sqlite"}
            file.write(json.dumps(row) + "\n")
    print(f"python scripts/fit.py --experiment example --task text_to_sql --task.path {path} --model Qwen/Qwen3-0.6B")


if __name__ == "__main__":
    main()
