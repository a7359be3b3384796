"""Handlers for the pool's tests; workers import this module, so it stays light."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"echo": request["n"], "pid": os.getpid()}


def misbehave(request: dict[str, Any]) -> dict[str, Any]:
    """Do what ``request["act"]`` says."""
    ACTS[request["act"]]()
    return {"did": request["act"]}


def _spin() -> None:
    while True:
        pass


def _spin_in_c() -> None:
    # One call into C that holds the interpreter lock for minutes: no signal handler of Python runs meanwhile.
    10 ** (10**9)


def _fork_child() -> None:
    if os.fork() == 0:
        time.sleep(600)


ACTS = {
    "nothing": lambda: None,
    "spin": _spin,
    "spin_in_c": _spin_in_c,
    "sleep": lambda: time.sleep(600),
    "memory": lambda: bytearray(8 << 30),
    "raise": lambda: [][1],
    "exit": lambda: os._exit(0),
    "abort": os.abort,
    "print": lambda: os.write(1, b'{"value": "forged"}\n'),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "fork": _fork_child,
}


def long_reply(request: dict[str, Any]) -> dict[str, Any]:
    return {"text": "x" * request["size"]}


def slow_square(request: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.002)
    return {"square": request["n"] ** 2}


def nap_or_spin(request: dict[str, Any]) -> dict[str, Any]:
    if "spin" in request:
        _spin()
    time.sleep(request["nap"])
    return {}
