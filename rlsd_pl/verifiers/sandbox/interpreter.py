"""The Python that runs inside the sandbox: the base interpreter of this one, without site packages."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_TIME_ZONES = ("/usr/share/zoneinfo",)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Attributes:
    executable: the binary, symbolic links resolved.
    libraries: paths that it reads while it runs: standard library, shared libraries.
    """

    executable: str
    libraries: tuple[str, ...]

    def closed_folder(self) -> str | None:
        """The first folder on the way to the standard library that other users may not pass, or ``None``.

        A home folder of mode 700 is the usual case: after a change of user the interpreter could import nothing.
        """
        library = Path(sysconfig.get_path("stdlib"))
        for folder in [*reversed(library.parents), library]:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return str(folder)
        return None


@cache
def find() -> Interpreter:
    """The base interpreter of the running one, seen through virtual environments."""
    wanted = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
        sysconfig.get_config_var("LIBDIR"),
        *_SYSTEM_LIBRARIES,
        *_TIME_ZONES,
    ]
    existing = [path for path in wanted if path and os.path.exists(path)]
    return Interpreter(os.path.realpath(sys.executable), tuple(dict.fromkeys(existing)))
