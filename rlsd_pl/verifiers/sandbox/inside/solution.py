"""The untrusted side of a function task: loads the model's code, then answers calls with values.

stdin carries requests and stdout replies, one JSON line each. Both move to private descriptors before foreign code
runs. Whatever that code does to this process, all it can say is a value; expected values are never here.
"""

from __future__ import annotations

import builtins
import errno
import json
import os
import sys
import types
from typing import Any, BinaryIO

from . import lockdown, wire


def main() -> None:
    """Serve one solution until the grader closes the requests."""
    requests: BinaryIO = os.fdopen(os.dup(0), "rb")
    replies = os.dup(1)
    for standard in (0, 1):
        os.dup2(2, standard)
    lockdown.enter(keep=[requests.fileno(), replies])
    _send(replies, b'{"ready": true}')
    job: dict[str, Any] = json.loads(requests.readline())
    function = _load(job["program"], job["entry_point"], replies)
    while line := requests.readline():
        arguments, keywords = wire.loads(line)
        _send(replies, _answer(function, arguments, keywords, job["value_bytes"]))
    os._exit(0)


def _load(program: str, entry_point: str, replies: int) -> Any:
    module = types.ModuleType("solution")
    sys.modules["solution"] = module  # dataclasses and pickle look their module up
    try:
        exec(compile(program, "<solution>", "exec"), module.__dict__)
        function = module.__dict__.get(entry_point)
        report = {"loaded": True} if callable(function) else {"missing": True}
    except BaseException as error:
        function, report = None, _raised(error)
    _send(replies, json.dumps(report).encode())
    return function


def _answer(function: Any, arguments: list[Any], keywords: dict[str, Any], value_bytes: int) -> bytes:
    try:
        value = function(*arguments, **keywords)
        return b'{"value": ' + wire.dumps(value, value_bytes) + b"}"
    except wire.WireSizeError:
        return b'{"limit": "value_size"}'
    except wire.WireError as error:
        return json.dumps({"refused": str(error)}).encode()
    except BaseException as error:
        return json.dumps(_raised(error)).encode()


def _raised(error: BaseException) -> dict[str, str]:
    if isinstance(error, MemoryError):
        return {"limit": "memory"}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
        return {"limit": "file_size"}
    names = (kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    return {"raised": next(names)}


def _send(replies: int, line: bytes) -> None:
    view = memoryview(line + b"\n")
    while view:
        view = view[os.write(replies, view) :]
