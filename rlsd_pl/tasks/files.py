"""Tables from files or the hub, with every value as it was written and mistakes told before training."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast, overload

import numpy as np
from datasets import Dataset, Value, disable_progress_bars, load_dataset
from datasets import config as datasets_config

from rlsd_pl.errors import SetupError
from rlsd_pl.hub import check_data_set_id
from rlsd_pl.tasks.values import WrittenFloat, json_text, read_json

COMPRESSED = ".gz"
MAX_FIELD = 2**31 - 1
"""Characters in one field of a CSV file; the library's own limit of 131072 is below a long document."""

Decode = Callable[[dict[str, Any]], dict[str, Any]]


class Rows(Sequence[dict[str, Any]]):
    """The rows of a table: column to value, every column in every row.

    Args:
        stored: as the library ``datasets`` holds them.
        column_names: what every row has.
        decode: makes a row of a stored one.
    """

    def __init__(self, stored: Dataset, column_names: list[str], decode: Decode = dict) -> None:
        self.stored, self.column_names, self.decode = stored, column_names, decode

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.decode, cast(Iterable[dict[str, Any]], self.stored))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.decode(cast(dict[str, Any], self.stored[index]))


def is_file_name(path: str) -> bool:
    """True for the name of a table; False for a hub id."""
    return _suffix(Path(path)) in READERS


def read_table(path: str, hub_config: str | None, hub_split: str) -> Rows:
    """The rows of a file, or of one split of a hub data set.

    Text formats keep the text: CSV fields are strings, and numbers in JSON remember their digits. Parquet and the hub
    keep their types.

    Raises:
        SetupError: if there is no such file, it cannot be read, or it holds no rows.
    """
    disable_progress_bars()
    if is_file_name(path):
        rows = _read_file(Path(path).expanduser())
    elif Path(path).exists():
        raise SetupError(f"{path} ends in {Path(path).suffix!r}; expected one of {', '.join(READERS)}.")
    else:
        check_data_set_id(path, Path(datasets_config.HF_DATASETS_CACHE) / path.replace("/", "___"))
        rows = _typed(_load(path, f"the data set {path!r}", path, name=hub_config, split=hub_split))
    if len(rows) == 0:
        raise SetupError(f"{path} holds no rows. Set --task.path to a table with at least two problems.")
    return rows


def _read_file(path: Path) -> Rows:
    if not path.is_file():
        raise SetupError(f"No file at {path}. Set --task.path to a table of problems.")
    if path.stat().st_size == 0:
        raise SetupError(f"{path} is empty. Set --task.path to a table with at least two problems.")
    try:
        return READERS[_suffix(path)](path)
    except SetupError:
        raise
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"{path} cannot be read as {_suffix(path)[1:]}: {error}.") from error


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(COMPRESSED)).suffix.lower()


def _open(path: Path) -> TextIO:
    open_text: Any = gzip.open if path.name.endswith(COMPRESSED) else open
    return open_text(path, "rt", encoding="utf-8-sig", newline="")


def _load(path: str, what: str, builder: str, **options: Any) -> Dataset:
    """``load_dataset``, whose errors span pages."""
    try:
        return cast(Dataset, load_dataset(builder, **options))
    except Exception as error:
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        raise SetupError(f"{what} cannot be read: {reason}. Set --task.path to a table or a hub id.") from error


# --- JSON ------------------------------------------------------------------------------------------------------------


def _read_json_file(path: Path) -> Rows:
    """One object per line, or one array of objects. Lines stay text on disk and are parsed when a row is read."""
    with _open(path) as file:
        if file.read(4096).lstrip().startswith("["):
            file.seek(0)
            return _json_rows(path, Dataset.from_dict({"text": _array(path, file.read())}))
    return _json_rows(path, _load(str(path), str(path), "text", data_files=str(path), split="train"))


def _array(path: Path, text: str) -> list[str]:
    try:
        return [json_text(row) for row in read_json(text)]
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path} cannot be read as json: {error}.") from None


def _json_rows(path: Path, lines: Dataset) -> Rows:
    names: dict[str, None] = {}
    filled: list[int] = []
    for number, line in enumerate(lines["text"]):
        if not line.strip("\ufeff \t\r"):
            continue
        filled.append(number)
        names |= dict.fromkeys(_row(path, number, line))
    columns = list(names)

    def decode(stored: dict[str, Any]) -> dict[str, Any]:
        row = read_json(stored["text"].lstrip("\ufeff"))
        return {name: row.get(name) for name in columns}

    return Rows(lines if len(filled) == len(lines) else lines.select(filled), columns, decode)


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = read_json(line.lstrip("\ufeff"))
        json_text(row).encode()  # half a surrogate pair is no character, which no tokenizer takes
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path} cannot be read as json: row {number + 1}: {error}.") from None
    if not isinstance(row, dict):
        raise SetupError(
            f"{path}, row {number + 1}: got {type(row).__name__} {json_text(row):.40}; expected a JSON object with the "
            'columns as keys, for example {"prompt": "...", "answer": "..."}.'
        )
    return row


# --- CSV -------------------------------------------------------------------------------------------------------------


def _read_separated(path: Path) -> Rows:
    """Every field as text. A row of another width than the header is an error, not a shift of its columns."""
    csv.field_size_limit(MAX_FIELD)
    with _open(path) as file:
        reader = csv.reader(file, delimiter="\t" if _suffix(path) == ".tsv" else ",", strict=True)
        header = next(reader, [])
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise SetupError(f"{path} has two columns named {twice[0]!r}. Rename one of them.")
        columns: list[list[str]] = [[] for _ in header]
        for row in filter(None, reader):
            if len(row) != len(header):
                raise SetupError(
                    f"{path}, line {reader.line_num}: got {len(row)} fields; expected {len(header)}, as in the header. "
                    "Put fields that hold the separator into double quotes."
                )
            for column, field in zip(columns, row, strict=True):
                column.append(field)
    return Rows(Dataset.from_dict(dict(zip(header, columns, strict=True))), header)


# --- typed formats ---------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Rows:
    return _typed(_load(str(path), str(path), "parquet", data_files=str(path), split="train"))


def _typed(rows: Dataset) -> Rows:
    """Rows with their own types. Narrow floats read as Python's would gain digits: 0.1 would be 0.10000000149."""
    narrow = {
        name: np.dtype(feature.dtype)
        for name, feature in rows.features.items()
        if isinstance(feature, Value) and feature.dtype in ("float32", "float16")
    }

    def decode(stored: dict[str, Any]) -> dict[str, Any]:
        exact = {n: WrittenFloat(str(kind.type(stored[n]))) for n, kind in narrow.items() if stored[n] is not None}
        return {**stored, **exact}

    return Rows(rows, rows.column_names, decode)


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _read_json_file,
    ".json": _read_json_file,
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".parquet": _read_parquet,
}
"""File name ending to reader; each also under ``.gz``."""
