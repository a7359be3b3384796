"""Files that a kill leaves whole, and what is said when the disk refuses one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

STORAGE_STATUS = 74
"""Exit status of a run that the disk ended: ``EX_IOERR`` of sysexits.h."""

PARTIAL = ".partial"
"""Ending of the names of files that are still being written; what carries it after a kill may be deleted."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


class StorageError(Exception):
    """The disk refuses what a run has to write: says what, where, and what to free or set."""

    @classmethod
    def of(cls, error: OSError, folder: Path) -> StorageError:
        """The account of an error that came up while writing into ``folder``."""
        where = Path(error.filename) if isinstance(error.filename, str) else folder
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            free = shutil.disk_usage(_existing(where)).free
            return cls(f"The disk of {where} is full ({size(free)} left): {reason}. Free space there.")
        if error.errno in _FORBIDDEN:
            return cls(f"{where} cannot be written: {reason}. Set --run_dir to a folder that you may write to.")
        if error.errno in _IN_THE_WAY:
            return cls(f"A file is in the way at {where}: {reason}. Remove it, or set --run_dir to another folder.")
        if not folder.exists():
            return cls(f"The run folder {folder} is gone; it was deleted or its disk was taken away.")
        return cls(f"{where} cannot be written: {reason}. Look at the disk of {folder}.")


def concerns(error: OSError, folder: Path) -> bool:
    """True if an error is that of a disk, or of a file in ``folder``; not that of a network, for example."""
    if error.errno in (*_FULL, errno.EROFS, errno.EIO, errno.ESTALE):
        return True
    return isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(folder.absolute())


@contextmanager
def explained(folder: Path, others_pass: bool = False) -> Iterator[None]:
    """Turn the errors of the file system into a :class:`StorageError` about ``folder``.

    Args:
        others_pass: leave those alone that do not :func:`concern <concerns>` it, which somebody else's code may raise.
    """
    try:
        yield
    except OSError as error:
        if others_pass and not concerns(error, folder):
            raise
        raise StorageError.of(error, folder) from error


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def check_writable(folder: Path) -> None:
    """Create the folder and write a file into it, so that a lack of rights is known before anything is loaded.

    Raises:
        StorageError: if that fails.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}{PARTIAL}"
        try:
            probe.write_bytes(b"0" * 4096)
        finally:
            probe.unlink(missing_ok=True)


def check_temporary() -> None:
    """Find out whether temporary files can be written, which verifiers need.

    Raises:
        StorageError: if no folder takes them.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StorageError(f"No folder takes temporary files: {error.strerror}. Free space, or set TMPDIR.") from error


def check_space(folder: Path, needed: int, reason: str) -> None:
    """Refuse to start where the disk is too small.

    Args:
        needed: bytes.
        reason: what they are needed for.

    Raises:
        StorageError: if fewer are free.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise StorageError(
            f"The disk of {folder} has {size(free)} left; {size(needed)} are needed for {reason}. Free space, or set "
            "--run_dir to a folder on another disk."
        )


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when the block ends: whole and on the disk, or not at all.

    A device or a pipe (``/dev/null``, ``/dev/stdout``) is written to, not replaced.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Like :meth:`Path.write_text`, but whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a folder that then takes the place of ``folder``.

    A kill between the removal of the old folder and the renaming leaves neither under this name, never a half.
    """
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    remove(partial)
    try:
        write(partial)
        sync_all([partial])
        remove(folder)
        partial.rename(folder)
    except BaseException:
        with suppress(OSError):
            remove(partial)
        raise
    sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """:func:`sync` for files, and for folders with all that they hold. What is absent is left out."""
    for path in paths:
        if path.is_dir():
            sync_all(path.iterdir())
        if path.exists():
            sync(path)


def remove(path: Path) -> None:
    """Delete a file, a folder with what it holds, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _existing(folder: Path) -> Path:
    path = folder.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
