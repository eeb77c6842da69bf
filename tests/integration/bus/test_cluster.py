"""A bus of three nodes: it keeps three of everything, and the death of a stream's leader loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from uuid import uuid4

import nats
import nats.errors
import pytest
from nats.js.errors import Error as JetStreamError

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import broker, outbox
from morningai.bus.catalogue import subscriptions_of
from morningai.bus.handling import Short
from morningai.bus.permissions import BUS_OWNER
from morningai.bus.relay import Relay
from morningai.bus.server_config import BUS_SECRETS, ClusterNode, nats_cluster
from morningai.bus.topology import STREAMS, ensure_topology
from morningai.db.session import Database
from morningai.embedded.nats import EmbeddedNats, _choose_port
from morningai.errors import FailedPrecondition
from morningai.settings import ServiceSettings
from services.gateway.handlers import SCHEDULE_HANDLERS, TASK_EVENTS
from tests.conftest import AUTHORIZATION, CONTAINERS, PASSWORD, SPECTATOR

pytestmark = pytest.mark.skipif(CONTAINERS, reason="three servers that find each other on this machine")
EVENTS = STREAMS[0]
SECRETS = dict.fromkeys(BUS_SECRETS, PASSWORD)
MESSAGES = 150
RECEIVED = "SELECT count(*) FROM gateway.inbox"


@pytest.fixture
async def nodes(tmp_path):
    ports = [_choose_port(None) for _ in range(3)]
    routes = tuple(f"127.0.0.1:{port}" for port in ports)
    servers = [
        EmbeddedNats(
            tmp_path / str(port),
            None,
            nats_cluster(ClusterNode(str(port), listen=route, routes=routes), SECRETS) + AUTHORIZATION,
        )
        for port, route in zip(ports, routes, strict=True)
    ]
    async with AsyncExitStack() as stack:
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        yield servers


@pytest.fixture
def nats_url(nodes):
    return ",".join(node.url for node in nodes)


@pytest.fixture
async def connect(nats_url, tmp_path):
    async with AsyncExitStack() as stack:

        async def as_service(name):
            settings = ServiceSettings.model_construct(nats_url=nats_url, nats_user=name, nats_password=PASSWORD)
            connected, _ = await broker.connect(name, settings)
            stack.push_async_callback(connected.stop)
            return (await connected.connect()).jetstream(timeout=2.0)

        yield as_service


async def made(jetstream, **given):
    """Once the nodes have found each other."""

    async def once():
        try:
            await ensure_topology(jetstream, ack_wait_seconds=30, **given)
        except (nats.errors.Error, JetStreamError, FailedPrecondition):
            return False
        return True

    deadline = asyncio.get_running_loop().time() + 20
    while not await once():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.2)


@pytest.fixture
async def spectator(nodes):
    client = await nats.connect([node.url for node in nodes], user=SPECTATOR, password=PASSWORD)
    yield client.jetstream(timeout=1.0)
    await client.close()


async def replicas(jetstream):
    """Of each stream and of a consumer; none while nobody leads it."""
    found = [(await jetstream.stream_info(stream.name)).cluster for stream in STREAMS]
    first = subscriptions_of("orchestrator")[0]
    found.append((await jetstream.consumer_info(first.stream, first.durable)).cluster)
    return [cluster and 1 + len(cluster.replicas or []) for cluster in found]


async def until(check, *, seconds=20.0):
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.1)


async def test_nothing_is_lost_when_the_leader_dies_while_messages_flow(
    nodes, connect, spectator, start_service, database, tenant, eventually
):
    owner = await connect(BUS_OWNER)
    await until(lambda: answers(spectator))
    await made(owner)
    assert await replicas(spectator) == [1, 1, 1, 1]
    await made(owner, replicas=3)
    await until(lambda: has_three(spectator))

    seen = []

    async def note(session, envelope, message):
        seen.append(envelope.id)

    handlers = dict.fromkeys((*TASK_EVENTS, *SCHEDULE_HANDLERS), Short(note))
    await start_service("gateway", handlers, bus_replicas=3, ack_wait_seconds=2)
    relaying = asyncio.create_task(
        Relay("orchestrator", database.dsn("orchestrator_relay"), await connect("orchestrator")).run()
    )
    await send(database, tenant, MESSAGES // 3)
    await eventually(lambda: database.rows(RECEIVED)[0][0] > 0)
    sending = asyncio.create_task(send(database, tenant, MESSAGES - MESSAGES // 3))
    leader = (await owner.stream_info(EVENTS.name)).cluster.leader
    victim = next(node for node in nodes if node.server_name == leader)
    os.killpg(victim._child.pid, signal.SIGKILL)
    await sending
    await eventually(lambda: database.rows(RECEIVED)[0][0] == MESSAGES, seconds=30)
    assert len(set(seen)) == MESSAGES
    assert database.rows("SELECT count(*) FROM orchestrator.outbox WHERE published_at IS NULL") == [(0,)]
    assert (await owner.stream_info(EVENTS.name)).cluster.leader != leader
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)


async def answers(jetstream):
    """Whether the nodes have a leader: without one nobody answers, and a request takes its whole time."""
    try:
        await jetstream.account_info()
    except (nats.errors.Error, JetStreamError):
        return False
    return True


async def has_three(jetstream):
    return await replicas(jetstream) == [3, 3, 3, 3]


async def send(database, tenant, count):
    pool = Database(database.dsn("orchestrator_app"))
    await pool.open()
    for _ in range(count):
        async with pool.tenant_session(tenant.grant()) as session:
            await outbox.emit(session, events.TaskStarted(), task_id=tenant.open_task(uuid4()))
    await pool.close()
