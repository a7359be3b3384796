"""A seccomp-bpf filter without libseccomp: deny list with EPERM, threads allowed, processes not."""

from __future__ import annotations

import ctypes
import errno
import struct

from . import syscalls

_LD_W_ABS, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARG0 = 0, 4, 16  # offsets in struct seccomp_data; the low half of an argument comes first
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 1, 38, 22, 2

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
    program += _when_call(syscalls.PRLIMIT64[machine], [load_first_argument, (_JEQ, 1, 0, 0), deny, allow])
    # the tie to the parent's life must stay
    program += _when_call(syscalls.PRCTL[machine], [load_first_argument, (_JEQ, 0, 1, _PR_SET_PDEATHSIG), deny, allow])
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
