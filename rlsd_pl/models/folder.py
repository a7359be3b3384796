"""Where a model is, and what its config.json says."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from transformers import AutoConfig, PreTrainedConfig

from rlsd_pl.errors import SetupError
from rlsd_pl.hub import check_hub_id

T = TypeVar("T")

EMBEDDED = {"lab": "base", "lab-long": "long", "lab-expert": "expert"}
"""Models in this package, and their folders: the base policies of both labs, and one that learned without
misconceptions."""


def resolve(name_or_path: str) -> str:
    """Path of a model: a name of ``EMBEDDED``, an existing folder as it is, all else a hub id.

    Raises:
        SetupError: for a path at which no folder with a config.json is, or a hub id that leads nowhere.
    """
    if name_or_path in EMBEDDED:
        return str(files("rlsd_pl") / "lab" / EMBEDDED[name_or_path])
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if not name_or_path or name_or_path.startswith((".", "/", "~")):
            raise SetupError(f"No model folder at {path}. Set --model to a folder with config.json, or a hub id.")
        check_hub_id(name_or_path)
        return name_or_path
    if not (path / "config.json").is_file():
        raise SetupError(
            f"{path} is no model folder: it holds no config.json. Set --model to a folder as save_pretrained writes "
            "it, with config.json, weights and tokenizer, or to a hub id."
        )
    return str(path)


def load_config(name_or_path: str) -> PreTrainedConfig:
    """The model's config.json.

    Raises:
        SetupError: if it cannot be read.
    """
    path = resolve(name_or_path)
    return loaded(name_or_path, "configuration", lambda: AutoConfig.from_pretrained(path, trust_remote_code=False))


def max_positions(config: PreTrainedConfig) -> int | None:
    """Longest sequence in tokens that the positions are made for; ``None`` where the architecture has no limit."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    factor, original = rope.get("factor"), rope.get("original_max_position_embeddings")
    if positions and factor and original:
        return max(positions, int(factor * original))
    return positions


def loaded(name_or_path: str, what: str, load: Callable[[], T]) -> T:
    """What ``load`` returns; whatever it raises in one line."""
    try:
        return load()
    except SetupError:
        raise
    except Exception as error:  # libraries raise anything on a broken file: JSON, safetensors and template errors
        raise SetupError(
            f"The {what} of {name_or_path!r} cannot be loaded: {reason(error)} Set --model to a Hugging Face folder, "
            "or the id of a hub model, that holds a causal LM."
        ) from error


def reason(error: Exception) -> str:
    lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    return " ".join(lines[:2])[:300].rstrip(".") + "."
