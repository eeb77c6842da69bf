"""What was found of keys lately, by their digests: whom they let in, and that they let nobody in."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

REFUSED_SECONDS = 4.0
MOST_REFUSED = 1_000
MOST_KNOWN = 10_000
V = TypeVar("V")


@dataclass
class KeyMemory:
    """Who is known is still checked each time; who was refused a moment ago is not asked about again."""

    _tenants: dict[bytes, UUID] = field(default_factory=dict)
    _refused_until: dict[bytes, float] = field(default_factory=dict)

    def tenant_of(self, key: str) -> UUID | None:
        """Of a key that was admitted before."""
        return self._tenants.get(_digest(key))

    def is_refused(self, key: str) -> bool:
        return self._refused_until.get(_digest(key), 0.0) > time.monotonic()

    def admit(self, key: str, tenant_id: UUID) -> None:
        _put(self._tenants, _digest(key), tenant_id, most=MOST_KNOWN)

    def refuse(self, key: str) -> None:
        self._tenants.pop(_digest(key), None)
        _put(self._refused_until, _digest(key), time.monotonic() + REFUSED_SECONDS, most=MOST_REFUSED)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _put(memory: dict[bytes, V], digest: bytes, value: V, *, most: int) -> None:
    """The oldest entry makes room."""
    memory.pop(digest, None)
    if len(memory) >= most:
        del memory[next(iter(memory))]
    memory[digest] = value
