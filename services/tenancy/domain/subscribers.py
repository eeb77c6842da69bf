"""Subscribers: connections to the bus that were opened with a tenant's key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from uuid import UUID

SCOPE = "subscriptions.read"
# Each is one token of a subject.
TENANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Subscriber:
    """Who is connected, as the bus itself names the connection: `<tenant>/<key id>`."""

    tenant_id: UUID
    key_id: str

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.key_id}"

    @classmethod
    def parse(cls, name: str) -> Subscriber:
        """Raises ValueError for a name that is no subscriber's."""
        tenant, _, key_id = name.partition("/")
        if not (TENANT_ID.fullmatch(tenant) and KEY_ID.fullmatch(key_id)):
            raise ValueError(f"{name!r} names no subscriber")
        return cls(UUID(tenant), key_id)


@dataclass(frozen=True)
class Connection:
    """One connection of one nats-server; `number` grows with time."""

    server: str
    number: int
    subscriber: Subscriber

    @property
    def place(self) -> tuple[str, int]:
        return self.server, self.number


def connections_to_end(
    connections: Iterable[Connection], allowed: Container[Subscriber], *, most_of_a_tenant: int
) -> list[Connection]:
    """Those whose subscriber may not stay, and those that came when their tenant had as many as one may have."""
    held: Counter[UUID] = Counter()
    ending = []
    for connection in sorted(connections, key=lambda connection: connection.number):
        tenant = connection.subscriber.tenant_id
        if connection.subscriber in allowed and held[tenant] < most_of_a_tenant:
            held[tenant] += 1
        else:
            ending.append(connection)
    return ending
