"""Reads a secret without showing it: never from an argument, which other users of the machine can see."""

from __future__ import annotations

from getpass import getpass
from typing import TextIO

from morningai.errors import InvalidInput

LONGEST_SECRET = 10_000


def read_secret(name: str, stdin: TextIO) -> str:
    """Asked for at a terminal, else the whole of standard input without its last line break. Raises InvalidInput."""
    secret = getpass(f"{name}: ") if stdin.isatty() else stdin.read(LONGEST_SECRET).removesuffix("\n")
    if not secret:
        raise InvalidInput(name, "is empty.", remedy=f"Type it, or write it to standard input: `… < {name}-file`.")
    return secret
