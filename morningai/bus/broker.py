"""Connects one service to JetStream: its durable consumers, and the settling of every message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.nats.security import NatsUserPassword
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from google.protobuf.message import Message
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from morningai.bus.catalogue import Subscription, subscriptions_of
from morningai.bus.handling import Short
from morningai.bus.permissions import inbox_prefix
from morningai.bus.settle import Settler
from morningai.bus.ticks import send_tick
from morningai.bus.tls import bus_context
from morningai.bus.together import Lanes
from morningai.bus.topology import wait_for_consumers
from morningai.bus.work import Long, Slot, WorkLimits
from morningai.db.session import Database
from morningai.liveness import Liveness, Loop
from morningai.settings import ServiceSettings

log = structlog.get_logger()

# One message a fetch: nats-py's fetch of many may lose a race with the server's expiry, and then holds a message back.
SHORT_PULLERS = 16
# Remotes that are asked at a time where a branch is.
CHECK_PULLERS = 4
# Pull requests wait this long at the server; an idle consumer costs one request per this many seconds.
FETCH_SECONDS = 20.0
# A bus whose machine is gone without a word is left after three times as long; nats-py itself would take six minutes.
PING_SECONDS = 10

Handlers = Mapping[type[Message], Short | Long]


@dataclass(frozen=True)
class Fetches:
    """Those that wait for a message. A server that was started again has forgotten who asked it, and answers none."""

    _waiting: set[asyncio.Timeout] = field(default_factory=set)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises TimeoutError when it has to ask again."""
        async with asyncio.timeout(None) as waiting:
            self._waiting.add(waiting)
            try:
                yield
            finally:
                self._waiting.remove(waiting)

    async def ask_again(self) -> None:
        log.info("bus.connection.restored")
        for waiting in self._waiting:
            waiting.reschedule(asyncio.get_running_loop().time())


@dataclass(frozen=True)
class Bus:
    """A connected broker whose subscriptions start with `start`."""

    broker: NatsBroker
    jetstream: JetStreamContext
    fetches: Fetches
    subscriptions: tuple[Subscription, ...]
    draining: asyncio.Event
    pullers: tuple[tuple[PullStreamSubscriber, Loop], ...]

    async def start(self) -> None:
        await self.broker.start()
        for puller, loop in self.pullers:
            _watch_each_fetch(puller, loop, self.fetches)

    async def drain(self) -> None:
        """Take no more messages, give long work to others at once, and return when the short handlers have ended."""
        self.draining.set()
        await asyncio.gather(*(subscriber.stop() for subscriber in self.broker.subscribers))

    async def stop(self) -> None:
        self.draining.set()
        await self.broker.stop()


async def _on_error(error: Exception) -> None:
    log.warning("bus.connection.error", error=f"{type(error).__name__}: {error}")


async def _on_disconnect() -> None:
    log.warning("bus.connection.lost")


async def connect(
    service: str, settings: ServiceSettings, fetches: Fetches | None = None
) -> tuple[NatsBroker, JetStreamContext]:
    """Connect as the service's own user; reconnects for ever afterwards, and then the fetches ask again."""
    context = bus_context(settings)
    broker = NatsBroker(
        settings.nats_urls,
        name=f"morningai-{service}",
        security=NatsUserPassword(
            settings.nats_user,
            settings.nats_password,
            ssl_context=context,
            tls_handshake_first=context is not None,
        ),
        inbox_prefix=inbox_prefix(service),
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        ping_interval=PING_SECONDS,
        apply_types=False,
        logger=None,
        error_cb=_on_error,
        disconnected_cb=_on_disconnect,
        reconnected_cb=(fetches or Fetches()).ask_again,
        graceful_timeout=settings.drain_seconds,
        drain_timeout=1,
    )
    client = await broker.connect()
    jetstream = client.jetstream(timeout=10.0)
    return broker, jetstream


async def subscribe(
    service: str,
    broker: NatsBroker,
    jetstream: JetStreamContext,
    fetches: Fetches,
    *,
    database: Database,
    handlers: Handlers,
    settings: ServiceSettings,
    liveness: Liveness,
) -> Bus:
    """Attach the handlers to the service's durable consumers, which the catalogue defines.

    Raises ValueError when the handlers are not exactly the messages the catalogue names.
    """
    by_name = {str(body.DESCRIPTOR.full_name): handler for body, handler in handlers.items()}
    subscriptions = subscriptions_of(service)
    expected = {message.name for subscription in subscriptions for message in subscription.types}
    if expected != set(by_name):
        raise ValueError(f"{service} must handle {sorted(expected)} but handles {sorted(by_name)}")
    limits = WorkLimits(
        settings.replica,
        settings.lease_seconds,
        settings.max_attempts,
        settings.retry_delay_seconds,
        settings.stall_seconds,
        settings.outage_seconds,
    )
    draining = asyncio.Event()
    tell = partial(send_tick, await broker.connect(), service)
    await wait_for_consumers(jetstream, subscriptions)
    pullers = []
    for subscription in subscriptions:
        # What may be sent on these subjects, and nothing else: who may publish there may publish no other command.
        own = {message.name: by_name[message.name] for message in subscription.types}
        lanes = Lanes(database, subscription.durable)
        count = {"work": settings.slots, "checks": CHECK_PULLERS}.get(subscription.lane, SHORT_PULLERS)
        for number in range(count):
            slot = Slot(draining, liveness.loop(f"{subscription.durable} {number}"), tell)
            settler = Settler(
                database,
                own,
                subscription.durable,
                limits,
                settings.max_deliveries,
                settings.ack_wait_seconds,
                slot,
                lanes,
            )
            pullers.append((_attach(broker, subscription, settler), slot.loop))
    return Bus(broker, jetstream, fetches, subscriptions, draining, tuple(pullers))


def _attach(broker: NatsBroker, subscription: Subscription, settler: Settler) -> PullStreamSubscriber:
    """One puller takes one message at a time; for long work it is a slot."""
    subscriber = broker.subscriber(
        config=ConsumerConfig(filter_subjects=list(subscription.filter_subjects)),
        durable=subscription.durable,
        stream=JStream(subscription.stream, declare=False),
        pull_sub=PullSub(batch_size=1, timeout=FETCH_SECONDS),
        ack_policy=AckPolicy.MANUAL,
        inbox_prefix=f"{inbox_prefix(subscription.service)}.".encode(),
        decoder=_keep_message,
    )
    subscriber(settler.settle)
    return subscriber


def _watch_each_fetch(puller: PullStreamSubscriber, loop: Loop, fetches: Fetches) -> None:
    assert puller.subscription is not None
    fetch = puller.subscription.fetch
    loop.passed(next_waits_seconds=FETCH_SECONDS)  # the first is under way

    async def watched_fetch(
        batch: int = 1,
        timeout: float | None = FETCH_SECONDS,  # noqa: ASYNC109  as nats-py has it
        heartbeat: float | None = None,
    ) -> list[Msg]:
        loop.passed(next_waits_seconds=timeout or 0.0)
        async with fetches.one():
            return await fetch(batch, timeout, heartbeat)

    puller.subscription.fetch = watched_fetch  # type: ignore[method-assign]  # nobody else hears of empty fetches


async def _keep_message(message: NatsMessage) -> NatsMessage:
    """The settler reads headers and body itself, so that a malformed message is settled too."""
    return message
