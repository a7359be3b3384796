"""Models of the Hugging Face hub: a name that leads nowhere is told after one request, not after minutes of retries."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError

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
    expected = "Set --model to a Hugging Face folder, or to the id of a hub model"
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=SECONDS)
    except HFValidationError as error:
        raise SetupError(f"{where}, and it is no hub id: {_first_line(error)}. {expected} (owner/name).") from error
    except GatedRepoError:
        return
    except RepositoryNotFoundError as error:
        raise SetupError(
            f"{where}, and no model that you may read on the hub. {expected}; a private one needs HF_TOKEN."
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
