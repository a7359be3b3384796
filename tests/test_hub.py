"""A mistyped name of a model is told at once; what the hub may still answer is left to the download."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

from rlsd_pl import hub
from rlsd_pl.errors import SetupError
from rlsd_pl.models import resolve


class ConnectError(Exception):
    """Of the name that the hub's client has for it."""


class SlowError(Exception):
    """The server was reached."""


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty cache; the URLs that are asked for."""
    hub.check_hub_id.cache_clear()
    urls: list[str] = []
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: None)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda url, timeout: urls.append(url))
    return urls


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def request(url: str, timeout: float) -> None:
        raise error

    monkeypatch.setattr(hub, "get_hf_file_metadata", request)


def without_init(kind: type[Exception]) -> Exception:
    """An error of the hub, whose constructor wants a response."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectError("[Errno -2] Name or service not known"), r"the hub cannot be reached \(\[Errno -2\] Name or"),
        (without_init(RepositoryNotFoundError), "and no model that you may read on the hub"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(error, said, monkeypatch):
    fail(monkeypatch, error)
    with pytest.raises(SetupError, match=r"^Got --model 'owner/typo': there is no folder of that name in .*" + said):
        resolve("owner/typo")


def test_what_is_no_hub_id_is_told(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(SetupError, match=r"and it is no hub id: .*a/b/c"):
        resolve("a/b/c")


@pytest.mark.parametrize("error", [SlowError("slow"), without_init(GatedRepoError), ValueError("another")])
def test_what_the_download_may_still_get_is_left_to_it(error, monkeypatch):
    fail(monkeypatch, error)
    assert resolve("owner/name") == "owner/name"


def test_a_model_on_the_hub_is_asked_for_once_and_one_in_the_cache_never(asked, monkeypatch):
    assert [resolve("owner/name"), resolve("owner/name")] == ["owner/name"] * 2
    assert len(asked) == 1
    assert asked[0].endswith("/owner/name/resolve/main/config.json")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: "/cache/config.json")
    assert resolve("owner/other") == "owner/other"
    assert len(asked) == 1


def test_an_unreachable_hub_costs_seconds(monkeypatch):
    """The real client against a closed port."""
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "hf_hub_url", lambda name, file: f"http://127.0.0.1:9/{name}/{file}")
    start = time.monotonic()
    with pytest.raises(SetupError, match="the hub cannot be reached"):
        resolve("owner/surely-not-in-the-cache")
    assert time.monotonic() - start < 10


def test_a_data_set_is_asked_for_once_before_it_is_loaded(asked, monkeypatch, tmp_path):
    hub.check_data_set_id.cache_clear()
    hub.check_data_set_id("owner/data", tmp_path / "owner___data")
    hub.check_data_set_id("owner/data", tmp_path / "owner___data")
    assert [url.partition("co/")[2] for url in asked] == ["datasets/owner/data/resolve/main/README.md"]
    (tmp_path / "owner___other").mkdir()
    hub.check_data_set_id("owner/other", tmp_path / "owner___other")
    assert len(asked) == 1, "one that was loaded before is not asked for"
    fail(monkeypatch, ConnectError("[Errno -2] Name or service not known"))
    with pytest.raises(SetupError, match=r"Got --task.path 'owner/typo': it is no file in .*cannot be reached"):
        hub.check_data_set_id("owner/typo", tmp_path / "owner___typo")


def test_a_data_set_without_a_readme_is_one(monkeypatch, tmp_path):
    hub.check_data_set_id.cache_clear()
    fail(monkeypatch, without_init(EntryNotFoundError))
    hub.check_data_set_id("owner/bare", tmp_path / "owner___bare")
