"""The self-test from within: tries what foreign code must not do, and what it must be able to do.

Reads ``targets`` from stdin as one JSON line, writes one JSON line ``{probe: null or what went through}`` and sleeps,
so that the parent's kill is tested too.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from . import lockdown

Targets = dict[str, Any]
_TIMEOUT_S = 0.5


def _read_outside(targets: Targets) -> str:
    with open(targets["secret"]) as file:
        return f"read {len(file.read())} characters"


def _write_outside(targets: Targets) -> str:
    with open(targets["new_file"], "w") as file:
        file.write("x")
    return "wrote a file"


def _tcp(targets: Targets) -> str:
    socket.create_connection(("127.0.0.1", targets["tcp"]), timeout=_TIMEOUT_S).close()
    return "connected"


def _udp(targets: Targets) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", targets["udp"]))
    return "sent"


def _fork(targets: Targets) -> str:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    return "forked"


def _daemon(targets: Targets) -> str:
    os.setsid()
    return "left the session"


def _execute(targets: Targets) -> str:
    # a missing program answers ENOENT only if the call itself is allowed
    try:
        os.execv("/nonexistent", ["/nonexistent"])
    except PermissionError:
        raise
    except OSError:
        return "may execute programs"


def _signal_parent(targets: Targets) -> str:
    os.kill(targets["parent"], 0)
    return "may send signals"


def _environment(targets: Targets) -> str:
    foreign = set(os.environ) - {"LC_CTYPE", "PWD"}  # Python and bubblewrap set these themselves
    if not foreign:
        raise PermissionError
    return f"holds {sorted(foreign)[:3]}"


def _memory(targets: Targets) -> str:
    block = bytearray(targets["memory_bytes"])
    return f"allocated {len(block)} bytes"


def _see_outside(targets: Targets) -> str:
    os.stat(targets["secret"])
    return "may ask whether files exist"


ATTACKS: dict[str, Callable[[Targets], str]] = {
    "read_outside": _read_outside,
    "see_outside": _see_outside,
    "write_outside": _write_outside,
    "tcp": _tcp,
    "udp": _udp,
    "fork": _fork,
    "daemon": _daemon,
    "execute": _execute,
    "signal_parent": _signal_parent,
    "environment": _environment,
    "memory": _memory,
}


def _works() -> str | None:
    """A lazy import from the standard library, a thread and /dev/null: what harmless programs rely on."""
    try:
        import decimal
        import heapq

        thread = threading.Thread(target=lambda: heapq.heapify([decimal.Decimal(1)]))
        thread.start()
        thread.join()
        with open(os.devnull, "w") as null:
            null.write("x")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    """Run every probe."""
    targets: Targets = json.loads(sys.stdin.buffer.readline())
    report: dict[str, str | None] = {"lockdown": None}
    try:
        lockdown.enter()
    except OSError as error:
        report["lockdown"] = str(error)
    else:
        report["works"] = _works()
        for name, attack in ATTACKS.items():
            try:
                report[name] = attack(targets)
            except (OSError, MemoryError):
                report[name] = None
    os.write(1, json.dumps(report).encode() + b"\n")
    time.sleep(3600)
