"""Who is in: the connections and durables of each tenant, as the servers told them and as this door has added since.

Counting and adding are one step without an await, so concurrent connections of one tenant never share the last place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from morningai.bus.server_config import AUTHENTICATION_SECONDS
from morningai.errors import QuotaExceeded
from services.tenancy.domain.subscribers import Connection, Subscriber

# What was let in and is not seen after that never came, or has left.
ENTERING_SECONDS = AUTHENTICATION_SECONDS + 1.0
K = TypeVar("K")


@dataclass
class Roll:
    most_connections: int
    most_durables: int
    _connections: dict[UUID, dict[tuple[str, int], float]] = field(default_factory=dict)
    _durables: dict[UUID, dict[str, float]] = field(default_factory=dict)
    _left: set[tuple[str, int]] = field(default_factory=set)

    def enter(self, connection: Connection) -> None:
        """Raises QuotaExceeded when the tenant has as many connections or durables as it may have."""
        tenant, key_id = connection.subscriber.tenant_id, connection.subscriber.key_id
        connections, durables = self._connections.get(tenant, {}), self._durables.get(tenant, {})
        if connection.place not in connections and len(connections) >= self.most_connections:
            raise QuotaExceeded(
                "connections_per_tenant",
                f"Tenant {tenant} has {len(connections)} connections.",
                remedy="Close one, or have the operator raise connections_per_tenant.",
            )
        if key_id not in durables and len(durables) >= self.most_durables:
            raise QuotaExceeded(
                "durables_per_tenant",
                f"{len(durables)} keys of tenant {tenant} have a durable, which is kept for seven days.",
                remedy="Revoke keys that are not needed, or have the operator raise durables_per_tenant.",
            )
        now = time.monotonic()
        self._connections.setdefault(tenant, {})[connection.place] = now
        self._durables.setdefault(tenant, {})[key_id] = now

    def leave(self, place: tuple[str, int]) -> None:
        self._left.add(place)
        for connections in self._connections.values():
            connections.pop(place, None)

    def remove(self, subscriber: Subscriber) -> None:
        """Its durable is gone."""
        self._durables.get(subscriber.tenant_id, {}).pop(subscriber.key_id, None)

    def begin_look(self) -> float:
        """Before the servers are asked; what it returns goes to `see_connections` and `see_durables`."""
        self._left.clear()
        return time.monotonic()

    def see_connections(self, seen: Iterable[Connection], *, begun_at: float) -> None:
        here: dict[UUID, dict[tuple[str, int], float]] = {}
        for connection in seen:
            if connection.place not in self._left:
                here.setdefault(connection.subscriber.tenant_id, {})[connection.place] = 0.0
        self._connections = _with_entering(here, self._connections, since=begun_at - ENTERING_SECONDS)

    def see_durables(self, seen: Iterable[Subscriber], *, begun_at: float) -> None:
        here: dict[UUID, dict[str, float]] = {}
        for subscriber in seen:
            here.setdefault(subscriber.tenant_id, {})[subscriber.key_id] = 0.0
        self._durables = _with_entering(here, self._durables, since=begun_at - ENTERING_SECONDS)


def _with_entering(
    here: dict[UUID, dict[K, float]], known: dict[UUID, dict[K, float]], *, since: float
) -> dict[UUID, dict[K, float]]:
    """What was seen, and what was let in so lately that it need not have been."""
    for tenant, entries in known.items():
        for key, entered_at in entries.items():
            if entered_at > since:
                here.setdefault(tenant, {}).setdefault(key, entered_at)
    return here
