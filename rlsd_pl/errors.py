"""Errors that a user can act on."""

from __future__ import annotations

import sysconfig
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SetupError(ValueError):
    """A mistake in data or settings, found before training: says what was got, what was expected, what to set."""


class UserCodeError(RuntimeError):
    """A part that a user wrote (verifier, task, context) failed; says which, with what and where."""


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Turn whatever is raised within into a :class:`UserCodeError` that names ``what``.

    ``sys.exit`` in a user's function would otherwise end the run without a word. Ctrl-C passes, as do errors that say
    what to do.
    """
    try:
        yield
    except (SetupError, UserCodeError):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C
        raise UserCodeError(
            f"{what} raised {type(error).__name__}: {str(error).strip() or '(no message)'}{_place(error)}. Correct it; "
            "RLSD_PL_DEBUG=1 shows the whole traceback."
        ) from error


def _place(error: BaseException) -> str:
    """Where the user's code stood, outside of this package and of libraries."""
    places = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_LIBRARIES)]
    return f" ({places[-1].filename}, line {places[-1].lineno}, in {places[-1].name})" if places else ""


_LIBRARIES = (str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
