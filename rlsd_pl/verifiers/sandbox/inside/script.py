"""The untrusted side of a stdin/stdout task: runs the model's code as ``__main__`` on real standard streams.

stdin starts with one line, the length of the program in bytes, then the program, then the test's input. stdout starts
with the line ``ready``, which says that the confinement stands; all after it is the program's.
"""

from __future__ import annotations

import os
import sys
import types

from . import lockdown


def main() -> None:
    """Run one program on one input."""
    lockdown.enter()
    # unbuffered reads: not one byte of the test's input may be taken
    header = b""
    while not header.endswith(b"\n"):
        header += os.read(0, 1)
    program = b""
    while len(program) < int(header):
        program += os.read(0, int(header) - len(program))
    os.write(1, b"ready\n")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(program, "<solution>", "exec"), module.__dict__)
