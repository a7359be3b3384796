"""A file system in which nothing exists but what may be read: a mount namespace with a root of its own.

Landlock refuses to open a file, but its errors and ``stat`` still say whether it exists. Where the kernel lets this
process make a mount namespace, there is nothing left to ask about.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from . import syscalls

_NEW_NAMESPACE, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_STAGE = "/proc"
"""Hidden by the new root while that is built: the one folder that no library lies in."""
_FILES = ("/dev/null", "/dev/urandom")


def restrict(readable: Iterable[str]) -> None:
    """Leave nothing to see but ``readable`` and two devices; raises OSError where namespaces are not allowed.

    Call it in a process of one thread, before capabilities and the user change.
    """
    _unshare()
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", _STAGE, "tmpfs", _NO_SUID | _NO_DEVICES, "mode=755,size=64k")
    for path in (*readable, *_FILES):
        if os.path.exists(path):
            _show(path, _STAGE + path)
    _mount(None, _STAGE, None, _REMOUNT | _READ_ONLY | _NO_SUID | _NO_DEVICES)
    os.chroot(_STAGE)
    os.chdir("/")


def _unshare() -> None:
    """As root in the namespace of its user, else in one of this process's own, where it may mount."""
    number, flags = syscalls.UNSHARE[syscalls.architecture()], _NEW_NAMESPACE
    if (user := os.geteuid()) == 0:
        syscalls.syscall(number, ctypes.c_int(flags))
        return
    group = os.getegid()
    syscalls.syscall(number, ctypes.c_int(flags | _NEW_USER))
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def _show(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT, 0o644))
    _mount(source, target, None, _BIND | _RECURSIVE)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    if _libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {target}: {os.strerror(code)}")


_libc = ctypes.CDLL(None, use_errno=True)
