"""Rate limits: PostgreSQL decides which calls are admitted; what it refused is refused here until its time has come.

So a tenant that floods costs one decision at a time, and none while it has to wait.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TypeAlias

from morningai.db.session import Database
from morningai.errors import RateLimited
from morningai.rpc.call import CallClass, MethodRule
from services.gateway.repository import keys as repository

# A raised limit holds after this long for a tenant that was told to wait longer.
LONGEST_MEMORY_SECONDS = 1.0
MOST_LANES = 10_000
REMEDY = "Wait as long as the answer says; an operator can raise the limit."

LaneKey: TypeAlias = tuple[str, CallClass]


@dataclass
class Lane:
    """The calls of one caller and class: decided one after the other, refused until `free_at` (monotonic seconds)."""

    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_at: float = 0.0
    asks_again_at: float = 0.0


class Limiter:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._lanes: dict[LaneKey, Lane] = {}

    async def admit(self, proof: str, rule: MethodRule) -> None:
        """Raises RateLimited, or Unauthenticated for a proof that has expired."""
        lane = self._lane((_caller(proof), rule.call_class))
        _refuse_while_denied(lane, rule.call_class)
        async with lane.deciding:
            _refuse_while_denied(lane, rule.call_class)
            wait_seconds = await repository.admit(self._database, proof, rule.call_class)
            if wait_seconds:
                now = time.monotonic()
                lane.free_at = now + wait_seconds
                lane.asks_again_at = now + min(wait_seconds, LONGEST_MEMORY_SECONDS)
                raise _rate_limited(rule.call_class, wait_seconds)

    def refuse(self, proof: str, rule: MethodRule) -> None:
        """Raises RateLimited when the call would be refused without a question."""
        lane = self._lanes.get((_caller(proof), rule.call_class))
        if lane is not None:
            _refuse_while_denied(lane, rule.call_class)

    def _lane(self, key: LaneKey) -> Lane:
        if len(self._lanes) >= MOST_LANES and key not in self._lanes:
            self._lanes = {known: lane for known, lane in self._lanes.items() if lane.deciding.locked()}
        return self._lanes.setdefault(key, Lane())


def _caller(proof: str) -> str:
    """The tenant, or an identity that is in none. Only says which calls wait for each other: PostgreSQL verifies the
    proof and reads the same from it."""
    _, _, tenant, principal, *_ = proof.split("|", 4)
    return principal if principal.startswith("identity:") else tenant


def _refuse_while_denied(lane: Lane, call_class: CallClass) -> None:
    now = time.monotonic()
    if now < lane.asks_again_at:
        raise _rate_limited(call_class, lane.free_at - now)


def _rate_limited(call_class: CallClass, wait_seconds: float) -> RateLimited:
    limit = f"{call_class}_calls_per_minute"
    return RateLimited(
        limit, f"The limit {limit} of your tenant is reached.", remedy=REMEDY, retry_after_seconds=wait_seconds
    )
