"""Until when the current call must have ended: set where it enters, read by all that waits for it (SQL, upstream calls,
models). Work without a call has none."""

from __future__ import annotations

import time
from contextvars import ContextVar

_ENDS_AT: ContextVar[float | None] = ContextVar("deadline", default=None)


def begin_deadline(seconds: float) -> None:
    """For the current task and the tasks that it starts."""
    _ENDS_AT.set(time.monotonic() + seconds)


def seconds_left() -> float | None:
    """None without a deadline; zero or less once it has passed."""
    ends_at = _ENDS_AT.get()
    return None if ends_at is None else ends_at - time.monotonic()


def is_past() -> bool:
    left = seconds_left()
    return left is not None and left <= 0
