"""Tables from files or the hub, with mistakes told before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from datasets import Dataset, disable_progress_bars, load_dataset

from rlsd_pl.errors import SetupError

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
COMPRESSED = ".gz"


def is_file_name(path: str) -> bool:
    """True for the name of a table; False for a hub id."""
    return Path(path.removesuffix(COMPRESSED)).suffix in BUILDERS


def read_table(path: str, hub_config: str | None, hub_split: str) -> Dataset:
    """The rows of a file, or of one split of a hub data set.

    Raises:
        SetupError: if there is no such file, it cannot be read, or it holds no rows.
    """
    disable_progress_bars()
    if is_file_name(path):
        rows = _read_file(Path(path).expanduser())
    elif Path(path).exists():
        raise SetupError(f"{path} ends in {Path(path).suffix!r}; expected one of {', '.join(BUILDERS)}.")
    else:
        rows = cast(Dataset, load_dataset(path, hub_config, split=hub_split))
    if len(rows) == 0:
        raise SetupError(f"{path} holds no rows. Set --task.path to a table with at least two problems.")
    return rows


def _read_file(path: Path) -> Dataset:
    if not path.is_file():
        raise SetupError(f"No file at {path}. Set --task.path to a table of problems.")
    if path.stat().st_size == 0:
        raise SetupError(f"{path} is empty. Set --task.path to a table with at least two problems.")
    suffix = Path(path.name.removesuffix(COMPRESSED)).suffix
    builder = BUILDERS[suffix]
    options: dict[str, Any] = {"delimiter": "\t"} if suffix == ".tsv" else {}
    try:
        return cast(Dataset, load_dataset(builder, data_files=str(path), split="train", **options))
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise SetupError(f"{path} cannot be read as {builder}: {reason}") from error
