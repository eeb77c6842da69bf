"""The watcher against answers of servers that a real one gives only now and then: several servers, several pages."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from uuid import UUID

import nats.errors

from services.tenancy.domain.subscribers import Subscriber
from services.tenancy.subscribers.roll import Roll
from services.tenancy.subscribers.watcher import PAGE, Watcher

TENANTS = [UUID(int=number) for number in range(1, PAGE + 10)]


class Servers:
    """Answers as a cluster does: each server its own connections, a page at a time."""

    def __init__(self, **users: list[str]) -> None:
        self.users = users
        self.kicked: set[tuple[str, int]] = set()
        self.answers: asyncio.Queue[SimpleNamespace] = asyncio.Queue()

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, inbox: str) -> Servers:
        return self

    async def unsubscribe(self) -> None:
        return None

    async def next_msg(self, timeout: float) -> SimpleNamespace:  # noqa: ASYNC109
        if self.answers.empty():
            raise nats.errors.TimeoutError
        return self.answers.get_nowait()

    async def publish(self, subject: str, payload: bytes, reply: str) -> None:
        for server in self.users:
            self.answers.put_nowait(self._page(server, json.loads(payload)["offset"]))

    async def request(self, subject: str, payload: bytes, timeout: float) -> SimpleNamespace:  # noqa: ASYNC109
        server, verb = subject.split(".")[3:]
        if verb == "CONNZ":
            return self._page(server, json.loads(payload)["offset"])
        self.kicked.add((server, json.loads(payload)["cid"]))
        return SimpleNamespace(data=b"{}")

    def _page(self, server: str, offset: int) -> SimpleNamespace:
        listed = [{"cid": cid, "authorized_user": user} for cid, user in enumerate(self.users[server])]
        content = {"server": {"id": server}, "data": {"connections": listed[offset : offset + PAGE]}}
        return SimpleNamespace(data=json.dumps(content).encode())


class NobodyMayStay:
    """A database in which every key is revoked."""

    def connection(self):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def execute(self, query, parameters):
        return self

    async def fetchall(self):
        return []


class NoDurables:
    async def request(self, subject: str, payload: bytes, timeout: float) -> SimpleNamespace:  # noqa: ASYNC109
        return SimpleNamespace(data=b'{"total": 0, "consumers": null}')


def watcher(servers: Servers) -> Watcher:
    return Watcher(servers, NoDurables(), NobodyMayStay(), Roll(32, 32))  # type: ignore[arg-type]


async def test_every_connection_of_every_server_is_looked_at():
    users = [str(Subscriber(tenant, "mk_1")) for tenant in TENANTS]
    servers = Servers(N1=users, N2=users[:2])
    await watcher(servers).look()
    assert servers.kicked == {("N1", cid) for cid in range(len(users))} | {("N2", 0), ("N2", 1)}


async def test_a_connection_that_has_no_name_yet_holds_up_nobody():
    servers = Servers(N1=["[REDACTED]", str(Subscriber(TENANTS[0], "mk_1"))])
    await watcher(servers).look()
    assert servers.kicked == {("N1", 1)}
