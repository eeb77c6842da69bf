"""The three streams and every durable consumer: made, and made again when they are gone, by one service alone.

A service that could make its own consumer could give it any filter, and so read every other service's messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import nats.errors
import psycopg
import structlog
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError
from nats.js.errors import Error as JetStreamError
from psycopg_pool import PoolTimeout

from morningai.bus import subjects
from morningai.bus.catalogue import Subscription, subscriptions_of
from morningai.bus.permissions import SERVICES
from morningai.errors import FailedPrecondition

log = structlog.get_logger()

SEVEN_DAYS_SECONDS = 7 * 24 * 3600
LOOK_SECONDS = 5.0
ASK_AGAIN_SECONDS = 0.1
MOST_UNACKNOWLEDGED = 1000
# JetStream's code for "stream name already in use with a different configuration".
NAME_IN_USE = 10058

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
    """Make the streams and the services' consumers; what exists is kept, and takes today's settings.

    Raises FailedPrecondition for a setting that JetStream does not change on a stream that exists.
    """
    for stream in STREAMS:
        await _ensure_stream(jetstream, stream)
    for service in services:
        for subscription in subscriptions_of(service):
            await jetstream.add_consumer(subscription.stream, _consumer(subscription, ack_wait_seconds))


async def _ensure_stream(jetstream: JetStreamContext, stream: StreamConfig) -> None:
    try:
        await jetstream.add_stream(stream)
        return
    except BadRequestError as error:
        if error.err_code != NAME_IN_USE:
            raise
    kept = (await jetstream.stream_info(str(stream.name))).config
    wanted = kept.evolve(**_own_settings(stream))
    if wanted != kept:
        await _update(jetstream, wanted)


async def _update(jetstream: JetStreamContext, stream: StreamConfig) -> None:
    try:
        await jetstream.update_stream(stream)
    except APIError as error:
        raise FailedPrecondition(
            f"Stream {stream.name} cannot take today's settings: {error.description}.",
            remedy=f"Stop the services, delete the stream (`nats stream rm {stream.name}`), and start them again.",
        ) from error
    log.info("bus.stream.updated", stream=stream.name)


def _own_settings(stream: StreamConfig) -> dict[str, object]:
    """What is set here; the rest, e.g. the number of replicas, is the operator's."""
    unset = vars(StreamConfig())
    return {name: value for name, value in vars(stream).items() if value != unset[name]}


async def keep_topology(
    jetstream: JetStreamContext, *, ack_wait_seconds: float, on_made: Callable[[datetime], Awaitable[object]]
) -> None:
    """Runs until cancelled: a bus that lost its state gets its streams and consumers back.

    `on_made` is told when the newest stream was made, at the start and each time it is another one, until it takes it.
    """
    told: datetime | None = None
    while True:
        try:
            made_at = await _made_at(jetstream)
            if made_at is None:
                log.warning("bus.topology.restored")
                await ensure_topology(jetstream, ack_wait_seconds=ack_wait_seconds)
                made_at = await _made_at(jetstream)
            if made_at is not None and made_at != told:
                await on_made(made_at)
                told = made_at
        except (nats.errors.Error, JetStreamError, TimeoutError, FailedPrecondition) as error:
            log.warning("bus.topology.unknown", error=f"{type(error).__name__}: {error}")
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("bus.losses.unknown", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(LOOK_SECONDS)


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


async def _made_at(jetstream: JetStreamContext) -> datetime | None:
    """When the newest stream was made; None while a stream or a consumer is missing."""
    made = []
    for stream in STREAMS:
        assert stream.name is not None
        try:
            info = await jetstream.stream_info(stream.name)
        except NotFoundError:
            return None
        if info.created is None:
            return None
        made.append(info.created)
    # By their names: the number of consumers says nothing where there are others'.
    expected = [subscription for service in SERVICES for subscription in subscriptions_of(service)]
    if not all(await asyncio.gather(*(_exists(jetstream, subscription) for subscription in expected))):
        return None
    return max(made)


def _consumer(subscription: Subscription, ack_wait_seconds: float) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=subscription.durable,
        filter_subjects=list(subscription.filter_subjects),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_seconds,
        max_deliver=-1,
        max_ack_pending=MOST_UNACKNOWLEDGED,
    )
