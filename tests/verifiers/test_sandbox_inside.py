"""The parts that run inside: codec, system call table, filter."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsd_pl.verifiers.sandbox.inside import seccomp, syscalls, wire

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.complex_numbers(allow_nan=False),
)
KEYS = ATOMS | st.tuples(ATOMS, ATOMS) | st.frozensets(ATOMS, max_size=3)
VALUES = st.recursive(
    KEYS | st.sets(KEYS, max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


def shape(value: Any) -> Any:
    """A value with its exact types, so that 1, 1.0 and True differ; text, so that sets have one order."""
    if isinstance(value, dict):
        return f"dict{sorted((shape(k), shape(v)) for k, v in value.items())}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}{sorted(shape(item) for item in value)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{[shape(item) for item in value]}"
    return f"{type(value).__name__} {value!r}"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(VALUES)
def test_values_come_back_with_their_types(value: Any) -> None:
    assert shape(wire.loads(wire.dumps(value, 1 << 20))) == shape(value)


def test_nan_and_infinity_cross() -> None:
    assert math.isnan(wire.loads(wire.dumps(float("nan"), 100)))
    assert wire.loads(wire.dumps([-math.inf], 100)) == [-math.inf]


@pytest.mark.parametrize("mapping", [Counter("aab"), OrderedDict(a=1), defaultdict(int, a=1)])
def test_dictionaries_of_the_standard_library_cross_as_plain_ones(mapping: Any) -> None:
    back = wire.loads(wire.dumps(mapping, 100))
    assert type(back) is dict
    assert back == dict(mapping)


class EqualToAll(list):
    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("value", [EqualToAll(), object(), len, range(3), (x for x in ()), type("I", (int,), {})(3)])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(wire.WireError, match="type that may not cross"):
        wire.dumps([value], 1000)


def test_depth_size_and_cycles_are_refused() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (nested, cycle):
        with pytest.raises(wire.WireError, match="deep"):
            wire.dumps(value, 1 << 30)
    for value in ("x" * 1000, 1 << (1 << 21), [0] * 300_000):
        with pytest.raises(wire.WireSizeError):
            wire.dumps(value, 900 if isinstance(value, str) else 1 << 30)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}":,1ntuplesidcbyx ', max_size=60).map(str.encode))
def test_hostile_lines_raise_only_the_codec_error(line: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        wire.loads(line)


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b'{"set": [[1]]}', b'{"int": 5}', b'{"dict": [[1]]}', b'{"a": 1, "b": 2}', b'{"bytes": "0"}'],
)
def test_malformed_lines_are_refused(line: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.loads(line)


def evaluate(program: list[seccomp.Instruction], architecture: int, number: int, *arguments: int) -> int:
    """A BPF machine as the manual describes it: returns the action for one system call."""
    fields = {0: number, 4: architecture}
    for n, argument in enumerate((*arguments, 0, 0, 0)[:3]):
        fields[16 + 8 * n], fields[20 + 8 * n] = argument & 0xFFFFFFFF, argument >> 32
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, constant = program[position]
        position += 1
        if code == 0x20:
            accumulator = fields[constant]
        elif code == 0x06:
            return constant
        else:
            holds = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: accumulator & constant}[code]
            position += if_true if holds else if_false


@pytest.mark.parametrize("machine", [syscalls.X86_64, syscalls.AARCH64])
def test_filter_denies_the_list_and_allows_the_rest(machine: str) -> None:
    program, here = seccomp.build(machine), syscalls.AUDIT_ARCH[machine]
    allow, permission, missing, kill = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
    denied = syscalls.denied_numbers(machine)
    assert len(denied) == len(set(denied)) > 90
    tables = (syscalls.CLONE, syscalls.PRLIMIT64, syscalls.SETRLIMIT, syscalls.PRCTL, syscalls.FCNTL, syscalls.IOCTL)
    special = {syscalls.CLONE3, *(table[machine] for table in tables)}
    for number in range(470):
        expected = permission if number in denied else missing if number == syscalls.CLONE3 else allow
        if number not in special or number == syscalls.CLONE3:
            assert evaluate(program, here, number, 0) == expected, number
    assert evaluate(program, here ^ 1, 0, 0) == kill
    assert evaluate(program, here, 0x40000000, 0) == permission
    assert evaluate(program, here, syscalls.CLONE[machine], 0x00010F00) == allow
    assert evaluate(program, here, syscalls.CLONE[machine], 17) == permission
    address, cpu, stack = 0x7FFF_0000_0000, 0, 3
    cases = [
        (syscalls.PRLIMIT64, (0, cpu, 0), allow), (syscalls.PRLIMIT64, (1234, cpu, 0), permission),
        (syscalls.PRLIMIT64, (0, cpu, address), permission), (syscalls.PRLIMIT64, (0, cpu, 4096), permission),
        (syscalls.PRLIMIT64, (0, stack, address), allow), (syscalls.PRLIMIT64, (1234, stack, address), permission),
        (syscalls.SETRLIMIT, (cpu, address), permission), (syscalls.SETRLIMIT, (stack, address), allow),
        *((syscalls.PRCTL, (option,), permission) for option in (1, 4, 22, 35, 38)),
        *((syscalls.PRCTL, (option,), allow) for option in (15, 16)),
        *((syscalls.FCNTL, (0, command), permission) for command in (8, 10, 15, 1024, 1026)),
        *((syscalls.FCNTL, (0, command), allow) for command in (1, 2, 3, 4, 9, 11, 1030, 1031)),
        *((syscalls.IOCTL, (0, request), permission) for request in (0x8901, 0x8902, 0x5452)),
        *((syscalls.IOCTL, (0, request), allow) for request in (0x5401, 0x5421, 0x541B)),
    ]  # fmt: skip
    for table, arguments, action in cases:
        assert evaluate(program, here, table[machine], *arguments) == action, (table, arguments)
