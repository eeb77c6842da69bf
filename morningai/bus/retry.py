"""Delays between tries: exponential with full jitter on the upper half, as AWS's "Exponential Backoff And Jitter"."""

from __future__ import annotations

import random

LONGEST_SECONDS = 60.0


def retry_delay_seconds(attempt: int, *, first: float) -> float:
    """Seconds before the try after `attempt` (counted from 1)."""
    whole = min(first * 2.0 ** min(attempt - 1, 16), LONGEST_SECONDS)
    return whole / 2 + random.uniform(0, whole / 2)  # noqa: S311
