"""Runs one service process: database, audit, bus, relay, gRPC, and an orderly stop on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from morningai import telemetry
from morningai.bus import broker
from morningai.bus.broker import Bus, Fetches, Handlers
from morningai.bus.losses import resend_lost
from morningai.bus.permissions import BUS_OWNER
from morningai.bus.pulses import Pulses
from morningai.bus.relay import Relay
from morningai.bus.retention import Rule, Sweeper
from morningai.bus.ticks import OnTick, hear_ticks
from morningai.bus.topology import ensure_topology, keep_topology
from morningai.db.audit import audit_at_start
from morningai.db.session import Database
from morningai.ending import end
from morningai.errors import MorningAIError
from morningai.liveness import Liveness, StuckLoops, keep_health
from morningai.logging import start_logging
from morningai.redaction import remember
from morningai.rpc.server import RpcServer
from morningai.settings import ServiceSettings, secrets_of

log = structlog.get_logger()

GRACE_SECONDS = 3.0


class AuditFailed(MorningAIError):
    reason = "AUDIT_FAILED"


@dataclass
class Service:
    """What an app.py wires together."""

    name: str
    settings: ServiceSettings
    database: Database
    relay_holder: RelayHolder
    handlers: Handlers
    rpc: RpcServer
    starting: Sequence[Callable[[], Coroutine[None, None, None]]] = field(default_factory=tuple)
    background: Sequence[Callable[[], Coroutine[None, None, None]]] = field(default_factory=tuple)
    closing: Sequence[Callable[[], Coroutine[None, None, None]]] = field(default_factory=tuple)
    retention: Sequence[Rule] = ()
    pulses: Pulses | None = None
    on_tick: OnTick | None = None


@dataclass
class RelayHolder:
    """Lets the database wake a relay that starts after it."""

    relay: Relay | None = None

    def wake(self) -> bool:
        return self.relay is not None and self.relay.wake()


def make_database(settings: ServiceSettings) -> tuple[Database, RelayHolder]:
    holder = RelayHolder()
    return Database(settings.database_dsn, max_connections=settings.max_connections, wake_relay=holder.wake), holder


def run(
    name: str,
    settings: ServiceSettings,
    make: Callable[[], Service],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """The body of every `__main__.py`. A service that starts processes keeps asyncio's own loop: what uvloop forks of a
    process with gRPC in it dies of it.
    """
    remember(secrets_of(settings))
    start_logging(name, settings.log_level)
    provider = telemetry.start_telemetry(name)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve(make))
    finally:
        provider.shutdown()


async def serve(make: Callable[[], Service]) -> None:
    """Serve until SIGTERM or SIGINT; a background task that ends is an error."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = make()
    liveness = Liveness(stuck_seconds=service.settings.stuck_seconds)
    connecting = asyncio.create_task(_connect(service, liveness), name="connect")
    await asyncio.wait({connecting, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():  # it may wait for what never comes, and has begun nothing
        await end(connecting)
        await service.database.close()
        return
    bus, relay = connecting.result()
    tasks = await _start(service, bus, relay, liveness)
    log.info("service.started", address=service.settings.grpc_address)
    await _wait(stop, tasks)
    log.info("service.stopping")
    await _stop(service, bus, tasks)


async def _start(service: Service, bus: Bus, relay: Relay, liveness: Liveness) -> list[asyncio.Task[None]]:
    sweeper = Sweeper(service.name, service.settings, service.retention)
    tasks = [asyncio.create_task(relay.run(), name="relay"), asyncio.create_task(sweeper.run(), name="sweeper")]
    tasks += [asyncio.create_task(background()) for background in service.background]
    await service.rpc.start()
    await bus.start()
    tasks.append(asyncio.create_task(keep_health(liveness, service.rpc.set_serving), name="health"))
    gc.freeze()  # what was imported stays: full collections need not look at it again
    return tasks


async def _audit(service: Service) -> None:
    async with service.database.connection() as connection:
        findings = await audit_at_start(connection)
    if findings:
        raise AuditFailed("Unprotected objects: " + "; ".join(map(str, findings)))


async def _connect(service: Service, liveness: Liveness) -> tuple[Bus, Relay]:
    await service.database.open()
    await _audit(service)
    for check in service.starting:
        await check()
    fetches = Fetches()
    nats, jetstream = await broker.connect(service.name, service.settings, fetches)
    ack_wait_seconds, replicas = service.settings.ack_wait_seconds, service.settings.bus_replicas
    if service.name == BUS_OWNER:
        await ensure_topology(jetstream, ack_wait_seconds=ack_wait_seconds, replicas=replicas)
        keeping = partial(
            keep_topology,
            jetstream,
            ack_wait_seconds=ack_wait_seconds,
            replicas=replicas,
            on_made=lambda made_at: resend_lost(service.database, made_at=made_at),
        )
        service.background = [*service.background, keeping]
    bus = await broker.subscribe(
        service.name,
        nats,
        jetstream,
        fetches,
        database=service.database,
        handlers=service.handlers,
        settings=service.settings,
        liveness=liveness,
    )
    if service.pulses:
        await service.pulses.start(await nats.connect())
    if service.on_tick:
        await hear_ticks(await nats.connect(), service.on_tick)
    relay = Relay(service.name, service.settings.relay_dsn, jetstream, loop=liveness.loop("relay"))
    service.relay_holder.relay = relay
    return bus, relay


async def _wait(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopping}:
        if isinstance(stuck := task.exception(), StuckLoops):
            _end_at_once(stuck)
        task.result()


def _end_at_once(stuck: StuckLoops) -> None:
    """What is stuck may hold up an orderly end, too, and nothing is lost with a process."""
    log.error("service.ended", error=str(stuck))
    sys.stderr.flush()
    os._exit(1)


async def _stop(service: Service, bus: Bus, tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(service.rpc.stop(GRACE_SECONDS), bus.drain())
    await end(*tasks)
    for close in (bus.stop, *service.closing):
        with suppress(TimeoutError):
            await asyncio.wait_for(close(), GRACE_SECONDS)
    await service.database.close()
