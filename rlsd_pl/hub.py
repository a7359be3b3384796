"""The Hugging Face hub: a name that leads nowhere is told after one request, not after minutes of retries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from rlsd_pl.errors import SetupError

SECONDS = 5.0
"""For the one request."""

UNREACHABLE = {"ConnectError", "ConnectionError", "ConnectTimeout", "ProxyError"}
"""Names of errors for a server that is not reached; the hub's HTTP client differs between its versions."""


@cache
def check_hub_id(name: str) -> None:
    """Find out whether a model that is no local folder is in the cache or on the hub.

    A server that answers slowly or with an error is left to the download, which tries again.

    Raises:
        SetupError: if there is no such model, or the hub cannot be reached.
    """
    where = f"Got --model {name!r}: there is no folder of that name in {Path.cwd()}"
    with _told(where, "model", "Set --model to a Hugging Face folder, or to the id of a hub model"):
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=SECONDS)


@cache
def check_data_set_id(name: str, cached: Path) -> None:
    """The same for a data set.

    Args:
        cached: the folder of the library ``datasets`` for it, if it has been loaded before.

    Raises:
        SetupError: if there is no such data set, or the hub cannot be reached.
    """
    where = f"Got --task.path {name!r}: it is no file in {Path.cwd()}"
    with _told(where, "data set", "Set --task.path to a table, or to the id of a data set on the hub"):
        if not cached.exists():
            get_hf_file_metadata(hf_hub_url(name, "README.md", repo_type="dataset"), timeout=SECONDS)


@contextmanager
def _told(where: str, kind: str, expected: str) -> Iterator[None]:
    """Turn what the hub answers into one line."""
    try:
        yield
    except HFValidationError as error:
        raise SetupError(f"{where}, and it is no hub id: {_first_line(error)}. {expected} (owner/name).") from error
    except (GatedRepoError, EntryNotFoundError):
        return
    except RepositoryNotFoundError as error:
        raise SetupError(
            f"{where}, and no {kind} that you may read on the hub. {expected}; a private one needs HF_TOKEN."
        ) from error
    except OfflineModeIsEnabled as error:
        raise SetupError(f"{where}, it is not in the cache, and HF_HUB_OFFLINE is set. {expected}.") from error
    except Exception as error:
        if not _unreachable(error):
            return
        raise SetupError(
            f"{where}, it is not in the cache, and the hub cannot be reached ({_first_line(error)}). {expected}; "
            "without a network, to one that was downloaded before."
        ) from error


def _unreachable(error: Exception) -> bool:
    return bool(UNREACHABLE & {kind.__name__ for kind in type(error).__mro__})


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
