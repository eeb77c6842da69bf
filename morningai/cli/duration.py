"""Durations as people write them: `90s`, `30m`, `12h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta

from morningai.errors import InvalidInput

_FORM = re.compile(r"(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str, *, option: str) -> timedelta:
    """Raises InvalidInput that names the option."""
    match = _FORM.fullmatch(text)
    if match:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    raise InvalidInput(option, f"'{text}' is no duration.", remedy="Use e.g. 90s, 30m, 12h or 7d.")
