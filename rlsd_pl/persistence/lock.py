"""One process group per run folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from rlsd_pl.persistence.storage import StorageError, explained

LOCK_FILE = ".lock"


class LockedError(ValueError):
    """Somebody else writes into the folder."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock, for people.

    Attributes:
        host: name of the machine.
        pid: of the process, on that machine.
        started: local time, ISO 8601.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%dT%H:%M:%S"))

    @classmethod
    def read(cls, file: BinaryIO) -> Owner | None:
        """What the lock file says; ``None`` if nothing, or nothing readable."""
        file.seek(0)
        try:
            return cls(**json.loads(file.read()))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started}"


class RunLock:
    """An exclusive lock on a run folder, from its construction until :meth:`release`.

    The kernel holds it for the process (flock), so that a dead owner does not keep it. On file systems where flock ends
    at the machine, the owner's name in the file is what another machine sees: it stays there when an owner has died, so
    :attr:`left_by` is a reason to warn and not to refuse.

    Attributes:
        left_by: an owner on another machine that did not release the lock; it may have died or may still run.

    Raises:
        LockedError: if another process holds it; says who.
        StorageError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK_FILE
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._acquire()
            before, this = Owner.read(self._file), Owner.this_process()
            self.left_by = before if before is not None and before.host != this.host else None
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(asdict(this)).encode())
            self._file.flush()

    def _acquire(self) -> BinaryIO:
        while True:
            file = self.path.open("a+b")
            _lock(file, self.folder)
            if self._is_at_path(file):
                return file
            file.close()  # its last owner removed it between the opening and the locking

    def _is_at_path(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Refuse to go on in a folder that is no longer the run's.

        Raises:
            StorageError: if the folder, or the lock in it, was deleted or replaced.
        """
        if not self._is_at_path(self._file):
            raise StorageError(
                f"The run folder {self.folder} was deleted or replaced while the run was writing it. What it held is "
                "gone, and later iterations cannot be saved there; start again with another --run_dir."
            )

    def release(self) -> None:
        """Let others in; the lock's file goes."""
        if not self._file.closed:
            if self._is_at_path(self._file):
                self.path.unlink()
            self._file.close()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def refuse_if_held(folder: Path) -> None:
    """Find out whether a run is being written, without becoming its owner.

    Raises:
        LockedError: if it is; says by whom.
    """
    path = folder / LOCK_FILE
    if path.exists():
        with path.open("rb") as file:
            _lock(file, folder)


def _lock(file: BinaryIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = Owner.read(file)
        file.close()
        raise LockedError(
            f"Another process is still writing the run in {folder}: {owner or 'it has not said which'}. Wait for it or "
            "stop it, then call again."
        ) from None
