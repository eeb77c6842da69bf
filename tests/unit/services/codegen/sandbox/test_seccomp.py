from __future__ import annotations

import struct

import pytest

from services.codegen.sandbox.seccomp import filter_program

ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = {"x86_64": (0xC000003E, 56, 41, 0), "aarch64": (0xC00000B7, 220, 198, 63)}
"""Audit number, clone, socket and read."""


def verdict(machine: str, call: int, argument: int = 0, *, audit: int | None = None) -> int:
    """What the program returns, by interpreting it."""
    program = filter_program(machine)
    assert program is not None
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data = struct.pack("=IIQQ", call, MACHINES[machine][0] if audit is None else audit, 0, argument)
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[at]
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
            at += 1
            continue
        met = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
        at += 1 + (if_true if met else if_false)


@pytest.mark.parametrize("machine", MACHINES)
def test_ordinary_calls_are_allowed(machine: str) -> None:
    _, clone, socket, read = MACHINES[machine]
    assert verdict(machine, read) == ALLOW
    assert verdict(machine, clone, 17) == ALLOW
    assert [verdict(machine, socket, family) for family in (1, 2, 10, 16)] == [ALLOW] * 4


@pytest.mark.parametrize("machine", MACHINES)
def test_user_namespaces_other_socket_families_and_io_uring_are_refused(machine: str) -> None:
    _, clone, socket, _ = MACHINES[machine]
    refused = [verdict(machine, clone, 0x10000011), verdict(machine, socket, 40), verdict(machine, 425)]
    assert [value & 0xFFFF for value in refused] == [1, 97, 1]


@pytest.mark.parametrize("machine", MACHINES)
def test_clone3_is_unknown_so_that_libc_falls_back(machine: str) -> None:
    assert verdict(machine, 435) & 0xFFFF == 38


def test_calls_of_another_architecture_are_fatal() -> None:
    assert verdict("x86_64", 0, audit=0x40000003) == KILL
    assert verdict("x86_64", 0x40000000) & 0xFFFF == 1


def test_an_unknown_machine_has_no_filter() -> None:
    assert filter_program("riscv64") is None
