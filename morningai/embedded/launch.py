"""Stands between the supervisor and a child on Linux: ties the child's life to its parent's, then becomes the child.

Run as a script (`python -I -S launch.py PARENT SIGNAL USER -- command …`) in place of a preexec_fn, which would fork
a process full of gRPC threads. USER is `same`, or `ordinary` to appear as uid 1000 in a user namespace of its own: that
is how PostgreSQL, which refuses root, runs as root. Imports nothing of MorningAI, so that it costs milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_ORDINARY_ID = 1000
CANNOT_LAUNCH = 126


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _enter_user_namespace(libc: ctypes.CDLL) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(libc.unshare(_CLONE_NEWUSER), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{_ORDINARY_ID} {uid} 1")
    _write("/proc/self/gid_map", f"{_ORDINARY_ID} {gid} 1")


def _die_with(parent: int, signal_number: int, libc: ctypes.CDLL) -> None:
    """The kernel sends the signal when the parent ends; one that ended before this call is noticed here."""
    _check(libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        sys.exit(CANNOT_LAUNCH)


def main(arguments: list[str]) -> None:
    parent, signal_number, user, _, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if user == "ordinary":
            _enter_user_namespace(libc)
        _die_with(int(parent), int(signal_number), libc)
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is what this script is for
    except OSError as error:
        sys.stderr.write(f"cannot launch {command[0]}: {error}\n")
        sys.exit(CANNOT_LAUNCH)


if __name__ == "__main__":
    main(sys.argv[1:])
