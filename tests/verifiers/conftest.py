"""Shared by the verifier tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlsd_pl.types import Problem

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def data() -> Path:
    """Public data files beside the repository; tests that need them skip where they are absent."""
    folder = (HERE.parents[1] / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip("the public data files are not beside the repository")
    return folder


@pytest.fixture(scope="session")
def problem() -> Callable[..., Problem]:
    """``problem(answer, **metadata)``."""

    def make(answer: str | None = None, **metadata: object) -> Problem:
        return Problem(id="test/0", messages=[{"role": "user", "content": "?"}], answer=answer, metadata=metadata)

    return make


@pytest.fixture(autouse=True, scope="session")
def _handlers_importable() -> None:
    # Workers get the parent's sys.path.
    import sys

    sys.path.insert(0, str(HERE))
