"""Ends connections whose key was revoked, expired or lost its scope, or whose tenant is suspended, within seconds, and
removes the durables of keys that ended.

It asks the servers themselves who is connected, so that nothing is forgotten when tenancy starts again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import nats.errors
import psycopg
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from psycopg_pool import PoolTimeout

from morningai.bus.server_config import SUBSCRIBERS_ACCOUNT
from morningai.db.session import Database
from services.tenancy.domain.subscribers import Connection, Subscriber, connections_to_end
from services.tenancy.repository import subscribers as repository
from services.tenancy.subscribers.replay import list_replays, remove_replay
from services.tenancy.subscribers.roll import Roll

log = structlog.get_logger()

LOOK_SECONDS = 1.5
ANSWER_SECONDS = 1.0
# Servers of a cluster answer one after the other.
NEXT_ANSWER_SECONDS = 0.2
PAGE = 512


@dataclass(frozen=True)
class Watcher:
    """`client` is connected to the system account, `bus` to that of the services."""

    client: Client
    bus: Client
    database: Database
    roll: Roll
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Runs until cancelled; every failure is logged and tried again."""
        while True:
            try:
                await self.look()
                self.looked.set()
            except (
                nats.errors.Error,
                psycopg.OperationalError,
                PoolTimeout,
                TimeoutError,
                ValueError,
                KeyError,
            ) as error:
                log.warning("tenancy.watcher.failed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        begun_at = self.roll.begin_look()
        await self._look_at_connections(begun_at)
        await self._look_at_durables(begun_at)

    async def on_leaving(self, event: Msg) -> None:
        """The server says that a subscriber's connection has ended."""
        content = json.loads(event.data)
        self.roll.leave((str(content["server"]["id"]), int(content["client"]["id"])))

    async def _look_at_connections(self, begun_at: float) -> None:
        connections = await self._connections()
        self.roll.see_connections(connections, begun_at=begun_at)
        if not connections:
            return
        allowed = await repository.allowed(self.database, {connection.subscriber for connection in connections})
        for connection in connections_to_end(connections, allowed, most_of_a_tenant=self.roll.most_connections):
            await self._end(connection)

    async def _look_at_durables(self, begun_at: float) -> None:
        durables = await list_replays(self.bus)
        self.roll.see_durables(durables, begun_at=begun_at)
        if not durables:
            return
        for subscriber in await repository.ended(self.database, durables):
            log.info("tenancy.durable.removed", subscriber=str(subscriber))
            await remove_replay(self.bus, subscriber)
            self.roll.remove(subscriber)

    async def _end(self, connection: Connection) -> None:
        log.info("tenancy.subscriber.disconnected", subscriber=str(connection.subscriber), connection=connection.number)
        request = json.dumps({"cid": connection.number}).encode()
        await self.client.request(f"$SYS.REQ.SERVER.{connection.server}.KICK", request, timeout=ANSWER_SECONDS)

    async def _connections(self) -> list[Connection]:
        found: list[Connection | None] = []
        for server, page in await self._first_pages():
            offset = 0
            while page:
                found += page
                offset += PAGE
                page = await self._page(server, offset) if len(page) == PAGE else []
        return [connection for connection in found if connection]

    async def _first_pages(self) -> list[tuple[str, list[Connection | None]]]:
        """Of every server; nobody says how many there are."""
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox)
        await self.client.publish("$SYS.REQ.SERVER.PING.CONNZ", _query(0), reply=inbox)
        pages: list[tuple[str, list[Connection | None]]] = []
        try:
            with suppress(nats.errors.TimeoutError):
                while True:
                    answer = await answers.next_msg(timeout=NEXT_ANSWER_SECONDS if pages else ANSWER_SECONDS)
                    pages.append(_parse(answer.data))
        finally:
            await answers.unsubscribe()
        return pages

    async def _page(self, server: str, offset: int) -> list[Connection | None]:
        subject = f"$SYS.REQ.SERVER.{server}.CONNZ"
        return _parse((await self.client.request(subject, _query(offset), timeout=ANSWER_SECONDS)).data)[1]


def _query(offset: int) -> bytes:
    query = {"acc": SUBSCRIBERS_ACCOUNT, "auth": True, "sort": "cid", "offset": offset, "limit": PAGE}
    return json.dumps(query).encode()


def _parse(answer: bytes) -> tuple[str, list[Connection | None]]:
    """The server's id and its connections; None for one whose name is not set yet, which the next look will see."""
    content = json.loads(answer)
    server = str(content["server"]["id"])
    return server, [_connection(server, each) for each in content.get("data", {}).get("connections") or []]


def _connection(server: str, listed: Mapping[str, object]) -> Connection | None:
    try:
        return Connection(server, int(str(listed["cid"])), Subscriber.parse(str(listed.get("authorized_user"))))
    except ValueError:
        return None
