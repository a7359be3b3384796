"""Errors that a user can act on."""

from __future__ import annotations

import inspect
import re
import sysconfig
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class SetupError(ValueError):
    """A mistake in data or settings, found before training: says what was got, what was expected, what to set."""


class UserCodeError(RuntimeError):
    """A part that a user wrote (verifier, task, context, objective) failed; says which, with what and where."""


LISTED = 3
"""Names that a refusal lists."""


def listed(names: Sequence[str]) -> str:
    """The first of some names, in their order.

    >>> listed(["b", "a", "d", "c"])
    'b, a, d, ...'
    """
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


LONGEST = 500
"""Characters of an error's own text that are shown."""


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
        raise _account(what, error, _place(_users_frames(error))) from error


def in_user_code(error: BaseException, parts: Sequence[object] = ()) -> UserCodeError | None:
    """The account of an error that a class or function of the user raised, or let pass.

    Args:
        parts: of the run; one whose class does not stand in this package is the user's, also where it was installed.

    Returns:
        ``None`` for an error that came up in this package and the libraries alone, whose traceback is wanted, and for
        errors that say what to do.
    """
    if isinstance(error, SetupError | UserCodeError):
        return None
    own = [type(part) for part in parts if not type(part).__module__.startswith(f"{__package__}.")]
    if error.__cause__ is not None and not _users_frames(error, [_file(kind) for kind in own]):
        return in_user_code(error.__cause__, parts)  # jsonargparse sums up what its attempts raised
    if frames := _users_frames(error, [_file(kind) for kind in own]):
        account = _account(_called(frames[0].frame), error, _place(frames))
    elif (kind := _called_wrongly(error, own)) is not None:
        account = _account(kind.__name__, error, f" ({_file(kind)})")
    else:
        return None
    account.__cause__ = error
    return account


def _account(what: str, error: BaseException, place: str) -> UserCodeError:
    text = " ".join(str(error).split())[:LONGEST] or "(no message)"
    return UserCodeError(
        f"{what} raised {type(error).__name__}: {text}{place}. Correct it; RLSD_PL_DEBUG=1 shows the whole traceback."
    )


def _called_wrongly(error: BaseException, kinds: Sequence[type]) -> type | None:
    """The class whose method takes other arguments than it was given; Python raises that in the caller."""
    found = re.match(r"([\w.<>]+)\.\w+\(\) (takes|missing|got)", str(error)) if isinstance(error, TypeError) else None
    return next((kind for kind in kinds if found and kind.__qualname__ == found[1]), None)


def _called(frame: FrameType) -> str:
    """Class and method that a frame runs, or its function."""
    name = frame.f_code.co_qualname
    instance = frame.f_locals.get("self")
    return f"{type(instance).__name__}.{frame.f_code.co_name}" if instance is not None and "." in name else name


class _Entry:
    """One entry of a traceback: its frame, and the line in which that stood."""

    def __init__(self, frame: FrameType, line: int) -> None:
        self.frame, self.line, self.file = frame, line, frame.f_code.co_filename


def _users_frames(error: BaseException, files: Sequence[str] = ()) -> list[_Entry]:
    """The entries of the traceback in ``files``, or outside of this package and of libraries; the innermost last."""
    entries = [_Entry(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return [entry for entry in entries if entry.file in files or not _of_library(entry.file)]


def _place(entries: Sequence[_Entry]) -> str:
    if not entries:
        return ""
    entry = entries[-1]
    return f" ({entry.file}, line {entry.line}, in {entry.frame.f_code.co_name})"


def _file(kind: type) -> str:
    try:
        return inspect.getsourcefile(kind) or ""
    except (TypeError, OSError):  # made at runtime
        return ""


def _of_library(file: str) -> bool:
    """Compiled code names a file of the machine that it was made on."""
    known = file.startswith(_LIBRARIES) or any(f"/{name}/" in file for name in ("site-packages", "dist-packages"))
    return known or not Path(file).exists()


_LIBRARIES = ("<", str(Path(__file__).parent), sysconfig.get_path("stdlib"))
"""Beginnings of files that are not the user's; ``<string>`` is code that a library has made up."""
