"""The name of a branch that is pushed: what git, forges and argument lists all take as one."""

from __future__ import annotations

import re

from morningai.errors import InvalidInput

_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_WRONG_PARTS = ("..", "//", "/.", "./", ".lock/")
_WRONG_ENDS = (".", "/", ".lock")
REMEDY = "Use at most 200 of letters, digits and '._/-', e.g. morningai/round-prices."


def parse_branch(value: str, *, field: str) -> str:
    """Raises InvalidInput for `field`. The rules are those of `git check-ref-format --branch`, and stricter."""
    wrong = any(part in value for part in _WRONG_PARTS) or value.endswith(_WRONG_ENDS) or value == "HEAD"
    if wrong or not _BRANCH.fullmatch(value) or value.startswith("refs/"):
        raise InvalidInput(field, f"'{value[:80]}' is no name of a branch.", remedy=REMEDY)
    return value
