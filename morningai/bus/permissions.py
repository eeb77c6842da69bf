"""Who may publish and subscribe to what on the bus: each service, from the catalogue, and a tenant's subscribers."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, GENERATORS, MessageType, subscriptions_of

SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
# Makes the streams and consumers of all services, and holds no message of any.
BUS_OWNER = "tenancy"
# Its replicas tell one another what has changed.
PULSING = frozenset({"gateway"})
# Tells clients how far running work is.
TICKS_HEARD_BY = "gateway"
STREAMS = (subjects.EVENTS_STREAM, subjects.COMMANDS_STREAM, subjects.PUBLIC_STREAM)


@dataclass(frozen=True)
class Permissions:
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(service: str) -> str:
    return f"_INBOX_{service}"


def publish_permissions(service: str) -> list[str]:
    """Its own messages, and pulling from its own durables; for the owner of the bus, making all of them."""
    allowed = [subject for message in CATALOGUE if service in message.producers for subject in _targets(message)]
    for subscription in subscriptions_of(service):
        name = f"{subscription.stream}.{subscription.durable}"
        allowed += [f"$JS.API.CONSUMER.INFO.{name}", f"$JS.API.CONSUMER.MSG.NEXT.{name}", f"$JS.ACK.{name}.>"]
    return sorted({*allowed, *_pulse(service), *_ticks(service), *(_making() if service == BUS_OWNER else ())})


def _pulse(service: str) -> list[str]:
    return [subjects.pulse_subject(service)] if service in PULSING else []


def _ticks(service: str) -> list[str]:
    """What a worker says of its own work."""
    return [subjects.progress_subject(service, subjects.ANY_TENANT)] if service in GENERATORS else []


def _making() -> list[str]:
    allowed = [f"$JS.API.STREAM.{verb}.{stream}" for stream in STREAMS for verb in ("CREATE", "INFO", "UPDATE")]
    for service in SERVICES:
        for subscription in subscriptions_of(service):
            name = f"{subscription.stream}.{subscription.durable}"
            allowed += [f"$JS.API.CONSUMER.INFO.{name}"]
            allowed += [f"$JS.API.CONSUMER.CREATE.{name}", f"$JS.API.CONSUMER.CREATE.{name}.>"]
            allowed += [f"$JS.API.CONSUMER.DURABLE.CREATE.{name}"]
    return allowed + _serving_subscribers()


def _serving_subscribers() -> list[str]:
    """Making a key's durable, which can have no filter but public events, finding and removing those that are not
    needed; passing acknowledgements on."""
    made = f"$JS.API.CONSUMER.CREATE.{subjects.PUBLIC_STREAM}.*.{subjects.PUBLIC_PREFIX}.*.>"
    found = f"$JS.API.CONSUMER.NAMES.{subjects.PUBLIC_STREAM}"
    removed = f"$JS.API.CONSUMER.DELETE.{subjects.PUBLIC_STREAM}.*"
    return [made, found, removed, f"$JS.ACK.{subjects.PUBLIC_STREAM}.*.>"]


def subscribe_permissions(service: str) -> list[str]:
    """Pull consumers deliver to the service's own inbox; the owner of the bus hears subscribers acknowledge, too."""
    own = [f"{inbox_prefix(service)}.>", *_pulse(service)]
    if service == TICKS_HEARD_BY:
        own += [subjects.progress_subject(worker, subjects.ANY_TENANT) for worker in GENERATORS]
    return [*own, f"{subjects.ACKNOWLEDGEMENT_PREFIX}.>"] if service == BUS_OWNER else own


def subscriber_permissions(tenant: UUID, key_id: str) -> Permissions:
    """What a tenant's key may do on the bus: hear its tenant's public events, live and replayed, and acknowledge them.

    No inbox and no call of JetStream: a reply subject is not checked by the server, so whoever may pull from a consumer
    could have its messages delivered to anybody.
    """
    live = f"{subjects.PUBLIC_PREFIX}.{tenant}.>"
    acknowledgement = f"$JS.ACK.{subjects.PUBLIC_STREAM}.{subjects.replay_durable(tenant, key_id)}.>"
    return Permissions(
        publish=(acknowledgement,),
        subscribe=(live, subjects.replay_subject(tenant, key_id)),
    )


def _targets(message: MessageType) -> list[str]:
    if message.kind == "event":
        event = subjects.event_subject(subjects.ANY_TENANT, message.context, message.event)
        copy = subjects.public_subject(subjects.ANY_TENANT, message.context, message.event)
        return [event, copy] if message.public else [event]
    return [subjects.command_subject(service, lane) for service, lane in message.consumers.items()]
