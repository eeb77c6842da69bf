"""Durable replay: a key's own consumer of its tenant's public events, and the way back for acknowledgements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from morningai.bus import subjects
from morningai.bus.topology import SEVEN_DAYS_SECONDS
from services.tenancy.domain.subscribers import Subscriber

ACKNOWLEDGE_SECONDS = 30.0
MOST_UNACKNOWLEDGED = 256
# Acknowledged, refused, in progress, and never again; not the one that asks JetStream for the next message.
PASSED_ON = (b"", b"+ACK", b"-NAK", b"+WPI", b"+TERM")


async def make_replay(client: Client, subscriber: Subscriber) -> None:
    """Make the key's durable consumer; what exists is kept, and forgets nothing for as long as the stream does."""
    tenant, key_id = subscriber.tenant_id, subscriber.key_id
    name = subjects.replay_durable(tenant, key_id)
    config = ConsumerConfig(
        name=name,
        durable_name=name,
        filter_subject=f"{subjects.PUBLIC_PREFIX}.{tenant}.>",
        deliver_subject=subjects.replay_subject(tenant, key_id),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACKNOWLEDGE_SECONDS,
        max_ack_pending=MOST_UNACKNOWLEDGED,
        inactive_threshold=SEVEN_DAYS_SECONDS,
    )
    await client.jetstream(timeout=1.0).add_consumer(subjects.PUBLIC_STREAM, config)


async def list_replays(client: Client) -> list[Subscriber]:
    """Whose durables there are. Raises ValueError when the stream does not say."""
    found: list[Subscriber] = []
    offset = 0
    while True:
        request = json.dumps({"offset": offset}).encode()
        answer = await client.request(f"$JS.API.CONSUMER.NAMES.{subjects.PUBLIC_STREAM}", request, timeout=1.0)
        content = json.loads(answer.data)
        if "error" in content:
            raise ValueError(f"the durables cannot be listed: {content['error']}")
        names = content["consumers"] or []
        found += _subscribers_of(names)
        offset += len(names)
        if not names or offset >= content["total"]:
            return found


async def remove_replay(client: Client, subscriber: Subscriber) -> None:
    name = subjects.replay_durable(subscriber.tenant_id, subscriber.key_id)
    with suppress(NotFoundError):
        await client.jetstream(timeout=1.0).delete_consumer(subjects.PUBLIC_STREAM, name)


async def pass_on(client: Client, message: Msg) -> None:
    """Give an acknowledgement to JetStream without the reply subject, to which JetStream would send what is there."""
    if message.data.startswith(PASSED_ON[1:]) or not message.data:
        suffix = message.subject.removeprefix(f"{subjects.ACKNOWLEDGEMENT_PREFIX}.")
        await client.publish(f"$JS.ACK.{subjects.PUBLIC_STREAM}.{suffix}", message.data)


def _subscribers_of(durables: Iterable[str]) -> Iterator[Subscriber]:
    """A consumer that is nobody's replay, such as an operator's, is left alone."""
    for durable in durables:
        with suppress(ValueError):
            yield Subscriber.parse("/".join(subjects.replay_owner(durable)))
