"""Each service's NATS user: what it may publish and subscribe to, made from the catalogue."""

from __future__ import annotations

import json
from pathlib import Path

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, MessageType, subscriptions_of

SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
# Makes the streams and consumers of all services, and holds no message of any.
BUS_OWNER = "tenancy"
STREAMS = (subjects.EVENTS_STREAM, subjects.COMMANDS_STREAM, subjects.PUBLIC_STREAM)


def inbox_prefix(service: str) -> str:
    return f"_INBOX_{service}"


def publish_permissions(service: str) -> list[str]:
    """Its own messages, and pulling from its own durables; for the owner of the bus, making all of them."""
    allowed = [subject for message in CATALOGUE if service in message.producers for subject in _targets(message)]
    for subscription in subscriptions_of(service):
        name = f"{subscription.stream}.{subscription.durable}"
        allowed += [f"$JS.API.CONSUMER.INFO.{name}", f"$JS.API.CONSUMER.MSG.NEXT.{name}", f"$JS.ACK.{name}.>"]
    return sorted({*allowed, *(_making() if service == BUS_OWNER else ())})


def _making() -> list[str]:
    allowed = [f"$JS.API.STREAM.{verb}.{stream}" for stream in STREAMS for verb in ("CREATE", "INFO")]
    for service in SERVICES:
        for subscription in subscriptions_of(service):
            name = f"{subscription.stream}.{subscription.durable}"
            allowed += [f"$JS.API.CONSUMER.CREATE.{name}", f"$JS.API.CONSUMER.CREATE.{name}.>"]
            allowed += [f"$JS.API.CONSUMER.DURABLE.CREATE.{name}"]
    return allowed


def subscribe_permissions(service: str) -> list[str]:
    """Pull consumers deliver to the service's own inbox and nowhere else."""
    return [f"{inbox_prefix(service)}.>"]


def nats_authorization(passwords: dict[str, str]) -> str:
    """The `authorization` block of a nats-server configuration; `passwords` maps services to passwords."""
    users = [
        {
            "user": service,
            "password": passwords[service],
            "permissions": {"publish": publish_permissions(service), "subscribe": subscribe_permissions(service)},
        }
        for service in SERVICES
    ]
    return f"authorization {json.dumps({'users': users}, indent=2)}\n"


def server_config(passwords: dict[str, str], *, store_folder: Path) -> str:
    """A whole configuration for a server of its own, in a container; its state is told on loopback alone."""
    return (
        "listen: 0.0.0.0:4222\n"
        "http: 127.0.0.1:8222\n"
        f"jetstream {{ store_dir: {json.dumps(str(store_folder))}, max_memory_store: 64MB, max_file_store: 4GB }}\n"
        f"{nats_authorization(passwords)}"
    )


def _targets(message: MessageType) -> list[str]:
    if message.kind == "event":
        event = subjects.event_subject(subjects.ANY_TENANT, message.context, message.event)
        copy = subjects.public_subject(subjects.ANY_TENANT, message.context, message.event)
        return [event, copy] if message.public else [event]
    return [subjects.command_subject(service, lane) for service, lane in message.consumers.items()]
