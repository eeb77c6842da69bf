"""The three streams and every durable consumer: made, and made again when they are gone, by one service alone.

A service that could make its own consumer could give it any filter, and so read every other service's messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from morningai.bus import subjects
from morningai.bus.catalogue import Subscription, subscriptions_of
from morningai.bus.permissions import SERVICES

log = structlog.get_logger()

SEVEN_DAYS_SECONDS = 7 * 24 * 3600
LOOK_SECONDS = 15.0
ASK_AGAIN_SECONDS = 0.1
MOST_UNACKNOWLEDGED = 1000

STREAMS = (
    StreamConfig(
        name=subjects.EVENTS_STREAM,
        subjects=[f"{subjects.EVENTS_PREFIX}.>"],
        retention=RetentionPolicy.LIMITS,
        max_age=SEVEN_DAYS_SECONDS,
    ),
    StreamConfig(
        name=subjects.COMMANDS_STREAM,
        subjects=[f"{subjects.COMMANDS_PREFIX}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
    ),
    StreamConfig(
        name=subjects.PUBLIC_STREAM,
        subjects=[f"{subjects.PUBLIC_PREFIX}.>"],
        retention=RetentionPolicy.LIMITS,
        max_age=SEVEN_DAYS_SECONDS,
    ),
)


async def ensure_topology(
    jetstream: JetStreamContext, *, ack_wait_seconds: float, services: Iterable[str] = SERVICES
) -> None:
    """Make the streams and the services' consumers; what exists is kept, and takes today's settings."""
    for stream in STREAMS:
        await jetstream.add_stream(stream)
    for service in services:
        for subscription in subscriptions_of(service):
            await jetstream.add_consumer(subscription.stream, _consumer(subscription, ack_wait_seconds))


async def keep_topology(jetstream: JetStreamContext, *, ack_wait_seconds: float) -> None:
    """Runs until cancelled: a bus that lost its state gets its streams and consumers back."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if not await _is_whole(jetstream):
                log.warning("bus.topology.restored")
                await ensure_topology(jetstream, ack_wait_seconds=ack_wait_seconds)
        except (nats.errors.Error, JetStreamError, TimeoutError) as error:
            log.warning("bus.topology.unknown", error=f"{type(error).__name__}: {error}")


async def wait_for_consumers(jetstream: JetStreamContext, subscriptions: Iterable[Subscription]) -> None:
    """Return once every consumer exists; the service that makes them may start later."""
    for subscription in subscriptions:
        while not await _exists(jetstream, subscription):  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(ASK_AGAIN_SECONDS)


async def _exists(jetstream: JetStreamContext, subscription: Subscription) -> bool:
    try:
        await jetstream.consumer_info(subscription.stream, subscription.durable)
    except NotFoundError:
        return False
    return True


async def _is_whole(jetstream: JetStreamContext) -> bool:
    for stream in STREAMS:
        assert stream.name is not None
        expected = sum(s.stream == stream.name for service in SERVICES for s in subscriptions_of(service))
        try:
            info = await jetstream.stream_info(stream.name)
        except NotFoundError:
            return False
        if info.state.consumer_count < expected:
            return False
    return True


def _consumer(subscription: Subscription, ack_wait_seconds: float) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=subscription.durable,
        filter_subjects=list(subscription.filter_subjects),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_seconds,
        max_deliver=-1,
        max_ack_pending=MOST_UNACKNOWLEDGED,
    )
