"""The isolation ladder: which walls stand around a process, and the command line that raises them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from rlsd_pl.verifiers.sandbox import interpreter
from rlsd_pl.verifiers.sandbox.limits import Limits

NOBODY = 65534
INSIDE = Path(__file__).parent / "inside"
_MOUNTED_PACKAGE = "/box"
_MOUNTED_FILES = "/files"
_BOOT = "import sys; sys.path.append(sys.argv[2]); from inside import {program}; {program}.main()"


class Level(IntEnum):
    """How strongly a run is isolated; see docs/verifiers-sandbox.md for what each one stops."""

    L0 = 0
    """Nothing that could limit memory or kill reliably: refuse."""
    L1 = 1
    """rlimits, own session, empty environment; files and network stay open."""
    L2 = 2
    """Landlock, seccomp and rlimits."""
    L3 = 3
    """bubblewrap namespaces, seccomp and rlimits."""


class SandboxUnavailableError(RuntimeError):
    """This machine cannot isolate foreign code as strongly as asked."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A level with limits; turns a program of ``inside/`` into a command.

    Attributes:
        level: the walls; :func:`rlsd_pl.verifiers.sandbox.open_sandbox` picks the strongest that works here.
        limits: what a process may use.
    """

    level: Level
    limits: Limits = field(default_factory=Limits)

    def command(
        self, program: str, *, keep: Sequence[int] = (), files: Sequence[Path] = (), info_fd: int | None = None
    ) -> tuple[list[str], tuple[int, ...]]:
        """The arguments that start ``inside/<program>.py``, and the descriptors that it needs open.

        ``keep`` are descriptors that stay open, in the settings under ``keep``; ``files`` are readable before the
        confinement, their paths as the program sees them stand in the settings under ``files``. At L3 bubblewrap
        writes the process id of its child to ``info_fd``.
        """
        contained = self.level is Level.L3
        python = interpreter.find()
        paths = [f"{_MOUNTED_FILES}/{i}" if contained else str(file.resolve()) for i, file in enumerate(files)]
        package = _MOUNTED_PACKAGE if contained else str(INSIDE.parent)
        boot = [python.executable, "-I", "-S", "-B", "-c", _BOOT.format(program=program)]
        argv = [*boot, json.dumps(self._settings(keep, paths)), package]
        if not contained:
            return argv, tuple(keep)
        walls = _bubblewrap(python, dict(zip(paths, files, strict=True)), self.limits, info_fd)
        return [*walls, *argv], (*keep, *([] if info_fd is None else [info_fd]))

    def _settings(self, keep: Sequence[int], files: list[str]) -> dict[str, object]:
        contained = self.level is Level.L3
        changes_user = not contained and os.geteuid() == 0 and interpreter.find().closed_folder() is None
        return {
            "cpu_seconds": self.limits.cpu_seconds,
            "memory_bytes": self.limits.memory_bytes,
            "file_bytes": self.limits.scratch_bytes if contained else 0,
            "open_files": self.limits.open_files,
            "uid": NOBODY if changes_user else None,
            "parent": None if contained else os.getpid(),  # bubblewrap ties its child to us by itself
            "landlock": self.level is Level.L2,
            "hide": self.level is Level.L2,
            "readable": interpreter.find().libraries,
            "seccomp_required": self.level >= Level.L2,
            "keep": list(keep),
            "files": files,
        }


def _bubblewrap(
    python: interpreter.Interpreter, files: dict[str, Path], limits: Limits, info_fd: int | None
) -> list[str]:
    program = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath))
    if program is None:
        raise SandboxUnavailableError("bubblewrap (bwrap) is not installed; install the package `bubblewrap`")
    walls = [program, "--unshare-all", "--uid", str(NOBODY), "--gid", str(NOBODY), "--die-with-parent"]
    walls += ["--cap-drop", "ALL", "--size", str(limits.scratch_bytes), "--tmpfs", "/tmp"]
    for path in (python.executable, *python.libraries):
        walls += ["--ro-bind", path, path]
    for path, source in {f"{_MOUNTED_PACKAGE}/inside": INSIDE, **files}.items():
        walls += ["--ro-bind", str(source), path]
    for device in ("/dev/null", "/dev/urandom"):
        walls += ["--dev-bind", device, device]
    walls += ["--remount-ro", "/", "--chdir", "/tmp"]
    return walls if info_fd is None else [*walls, "--info-fd", str(info_fd)]
