"""Shared by the verifier tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlsd_pl.types import Problem

HERE = Path(__file__).parent
# Helpers and handlers are plain modules beside the tests; workers get the parent's path.
sys.path.insert(0, str(HERE))


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
