"""A seccomp-bpf filter without libseccomp: deny list with EPERM, threads allowed, processes not."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence

from . import syscalls

_LD_W_ABS, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH = 0, 4  # offsets in struct seccomp_data
_ARG0, _ARG1, _ARG2, _ARG2_HIGH = 16, 24, 32, 36  # the low half of an argument comes first
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41
_HARMLESS_PRCTL = (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA)
"""Threads get names, and the C library names its memory. The tie to the parent's life must stay."""
_RLIMIT_STACK = 3
"""The one limit that a program may set: deep recursion asks for it, and the address space bounds it."""
_OWNER_FCNTL = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: whom the kernel sends which signal."""
_OWNER_IOCTL = (0x8901, 0x8902, 0x5452, 0x5410, 0x5412)
"""FIOSETOWN, SIOCSPGRP, FIOASYNC, TIOCSPGRP, TIOCSTI."""

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _return(action: int) -> Instruction:
    return (_RET, 0, 0, action)


def _deny(code: int) -> Instruction:
    return _return(_ERRNO | code)


def _when_call(number: int, body: list[Instruction]) -> list[Instruction]:
    """``body`` runs if the loaded call number is ``number``; it must return in every branch."""
    return [(_JEQ, 0, len(body), number), *body]


def _if_argument(offset: int, values: Sequence[int], then: Instruction, otherwise: Instruction) -> list[Instruction]:
    """``then`` where the argument at ``offset`` is one of ``values``."""
    checks = [(_JEQ, len(values) - n, 0, value) for n, value in enumerate(values)]
    return [(_LD_W_ABS, 0, 0, offset), *checks, otherwise, then]


def _limits(machine: str, allow: Instruction, deny: Instruction) -> list[Instruction]:
    """prlimit64 of this process reads every limit and sets RLIMIT_STACK; setrlimit sets that one."""
    stack = _if_argument(_ARG1, [_RLIMIT_STACK], allow, deny)
    reading = [(_LD_W_ABS, 0, 0, _ARG2), (_JEQ, 0, 3, 0), (_LD_W_ABS, 0, 0, _ARG2_HIGH), (_JEQ, 0, 1, 0), allow]
    own = [(_LD_W_ABS, 0, 0, _ARG0), (_JEQ, 1, 0, 0), deny, *reading, *stack]
    return [
        *_when_call(syscalls.PRLIMIT64[machine], own),
        *_when_call(syscalls.SETRLIMIT[machine], _if_argument(_ARG0, [_RLIMIT_STACK], allow, deny)),
    ]


def build(machine: str) -> list[Instruction]:
    """The filter for one architecture, as BPF instructions (code, jump true, jump false, constant)."""
    load_first_argument = (_LD_W_ABS, 0, 0, _ARG0)
    allow, deny = _return(_ALLOW), _deny(errno.EPERM)
    program: list[Instruction] = [
        (_LD_W_ABS, 0, 0, _ARCH),
        (_JEQ, 1, 0, syscalls.AUDIT_ARCH[machine]),
        _return(_KILL),
        (_LD_W_ABS, 0, 0, _NR),
        (_JGE, 0, 1, _X32_BIT),
        deny,
    ]
    # glibc falls back to clone, whose flags a filter can read
    program += _when_call(syscalls.CLONE3, [_deny(errno.ENOSYS)])
    program += _when_call(syscalls.CLONE[machine], [load_first_argument, (_JSET, 1, 0, _CLONE_THREAD), deny, allow])
    program += _limits(machine, allow, deny)
    program += _when_call(syscalls.PRCTL[machine], _if_argument(_ARG0, _HARMLESS_PRCTL, allow, deny))
    program += _when_call(syscalls.FCNTL[machine], _if_argument(_ARG1, _OWNER_FCNTL, deny, allow))
    program += _when_call(syscalls.IOCTL[machine], _if_argument(_ARG1, _OWNER_IOCTL, deny, allow))
    for number in syscalls.denied_numbers(machine):
        program += _when_call(number, [deny])
    return [*program, allow]


def load() -> None:
    """Install the filter for this process and all that come from it; raises OSError where the kernel refuses."""
    instructions = build(syscalls.architecture())
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(instructions), ctypes.cast(buffer, ctypes.c_void_p))
    syscalls.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))
