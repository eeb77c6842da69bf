"""Which outbox rows failed to be published, and when each is tried again: ever more rarely once others were sent."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import nats.errors
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError

from morningai.bus.retry import retry_delay_seconds

# tenant_id and id of an outbox row
Key: TypeAlias = tuple[UUID, UUID]

FIRST_DELAY_SECONDS = 0.25
LONGEST_OUTAGE_DELAY_SECONDS = 2.0
# Any row would have met these.
OUTAGES = (
    TimeoutError,
    OSError,
    NoStreamResponseError,
    ServiceUnavailableError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionDrainingError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.StaleConnectionError,
)


@dataclass(frozen=True)
class _Hold:
    failures: int
    sent_before: int
    until: float


class Holds:
    def __init__(self) -> None:
        self._holds: dict[Key, _Hold] = {}
        self._sent = 0

    def sent(self, key: Key) -> None:
        self._sent += 1
        self._holds.pop(key, None)

    def failed(self, key: Key, error: BaseException) -> None:
        """While nothing else is sent either, the bus may be away, and the row is tried again soon."""
        known = self._holds.get(key)
        failures = known.failures + 1 if known else 1
        delay = retry_delay_seconds(failures, first=FIRST_DELAY_SECONDS)
        if isinstance(error, OUTAGES) and (known is None or known.sent_before == self._sent):
            delay = min(delay, LONGEST_OUTAGE_DELAY_SECONDS)
        self._holds[key] = _Hold(failures, self._sent, time.monotonic() + delay)

    def forget_all_but(self, keys: Iterable[Key]) -> None:
        """A row may be withdrawn while it is held."""
        self._holds = {key: self._holds[key] for key in keys if key in self._holds}

    def keys(self) -> list[Key]:
        return list(self._holds)

    def waiting(self) -> list[Key]:
        """Those whose time has not come."""
        now = time.monotonic()
        return [key for key, hold in self._holds.items() if hold.until > now]

    def seconds_to_next(self, *, most: float) -> float:
        """Until one of those that wait may be tried again."""
        now = time.monotonic()
        return min((hold.until - now for hold in self._holds.values() if hold.until > now), default=most)
