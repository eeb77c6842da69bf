"""Delays between tries: exponential with full jitter on the upper half, as AWS's "Exponential Backoff And Jitter"."""

from __future__ import annotations

import random

LONGEST_SECONDS = 60.0
# A part of ours that is away is looked for this often at least.
LONGEST_OUTAGE_SECONDS = 3.0


def retry_delay_seconds(attempt: int, *, first: float, longest: float = LONGEST_SECONDS) -> float:
    """Seconds before the try after `attempt` (counted from 1)."""
    whole = min(first * 2.0 ** min(attempt - 1, 16), longest)
    return whole / 2 + random.uniform(0, whole / 2)  # noqa: S311
