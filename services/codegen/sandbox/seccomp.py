"""The system call filter of the sandbox, as the BPF program that `bwrap --seccomp` takes (see seccomp(2), bpf(2)).

It closes what namespaces leave open: new user namespaces, VSOCK and other socket families that no network namespace
holds, io_uring (which opens sockets unseen by a filter), keyrings, mounts and tracing.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_OFFSET, _MACHINE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_CLONE_NEWUSER = 0x10000000
_X32_CALLS = 0x40000000
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: each held by the network namespace

# Same numbers on every architecture: open_tree to fspick, io_uring, pidfd_getfd, mount_setattr.
_COMMON = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)


@dataclass(frozen=True)
class _Machine:
    audit: int
    clone: int
    socket: int
    refused: tuple[int, ...]
    """unshare setns mount umount2 pivot_root chroot ptrace process_vm_readv process_vm_writev keyctl add_key
    request_key bpf perf_event_open userfaultfd kexec_load kexec_file_load init_module finit_module delete_module
    open_by_handle_at name_to_handle_at swapon swapoff reboot acct syslog quotactl"""


_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        clone=56,
        socket=41,
        refused=(
            *(272, 308, 165, 166, 155, 161, 101, 310, 311, 250, 248, 249, 321, 298),
            *(323, 246, 320, 175, 313, 176, 304, 303, 167, 168, 169, 163, 103, 179),
        ),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        clone=220,
        socket=198,
        refused=(
            *(97, 268, 40, 39, 41, 51, 117, 270, 271, 219, 217, 218, 280, 241),
            *(282, 104, 294, 105, 273, 106, 265, 264, 224, 225, 142, 89, 116, 60),
        ),
    ),
}
_CLONE3 = 435


def filter_program(machine: str = platform.machine()) -> bytes | None:
    """The program for this architecture; None where the call numbers are not known."""
    known = _MACHINES.get(machine)
    if known is None:
        return None
    program = [
        _instruction(_LOAD, _MACHINE_OFFSET),
        *_unless_equal(known.audit, _KILL),
        _instruction(_LOAD, _NUMBER_OFFSET),
        _instruction(_JUMP_AT_LEAST, _X32_CALLS, if_false=1),
        _instruction(_RETURN, _REFUSE | _EPERM),
    ]
    for number in (*known.refused, *_COMMON):
        program += _if_equal(number, _REFUSE | _EPERM)
    # The flags of clone3 are out of a filter's sight; glibc falls back to clone on ENOSYS.
    program += _if_equal(_CLONE3, _REFUSE | _ENOSYS)
    program += _clone_without_user_namespace(known.clone)
    program += _socket_of_known_family(known.socket)
    program.append(_instruction(_RETURN, _ALLOW))
    return b"".join(program)


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _if_equal(value: int, result: int) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, value, if_false=1), _instruction(_RETURN, result)]


def _unless_equal(value: int, result: int) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, value, if_true=1), _instruction(_RETURN, result)]


def _clone_without_user_namespace(number: int) -> list[bytes]:
    body = [
        _instruction(_LOAD, _FIRST_ARGUMENT_OFFSET),
        _instruction(_JUMP_BITS, _CLONE_NEWUSER, if_false=1),
        _instruction(_RETURN, _REFUSE | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]
    return [_instruction(_JUMP_EQUAL, number, if_false=len(body)), *body]


def _socket_of_known_family(number: int) -> list[bytes]:
    body = [_instruction(_LOAD, _FIRST_ARGUMENT_OFFSET)]
    for family in _FAMILIES:
        body += _if_equal(family, _ALLOW)
    body.append(_instruction(_RETURN, _REFUSE | _EAFNOSUPPORT))
    return [_instruction(_JUMP_EQUAL, number, if_false=len(body)), *body]
