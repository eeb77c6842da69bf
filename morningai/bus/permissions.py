"""Each service's NATS user: what it may publish and subscribe to, made from the catalogue."""

from __future__ import annotations

import json

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, MessageType, subscriptions_of

SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
STREAMS = (subjects.EVENTS_STREAM, subjects.COMMANDS_STREAM)


def inbox_prefix(service: str) -> str:
    return f"_INBOX_{service}"


def publish_permissions(service: str) -> list[str]:
    """Its own messages, its own durables, and making the two streams where they are missing."""
    allowed = [subject for message in CATALOGUE if service in message.producers for subject in _targets(message)]
    allowed += [f"$JS.API.STREAM.{verb}.{stream}" for stream in STREAMS for verb in ("CREATE", "INFO")]
    for subscription in subscriptions_of(service):
        name = f"{subscription.stream}.{subscription.durable}"
        allowed += [f"$JS.API.CONSUMER.{verb}.{name}" for verb in ("INFO", "CREATE", "MSG.NEXT")]
        allowed += [f"$JS.API.CONSUMER.CREATE.{name}.>", f"$JS.API.CONSUMER.DURABLE.CREATE.{name}", f"$JS.ACK.{name}.>"]
    return sorted(set(allowed))


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


def _targets(message: MessageType) -> list[str]:
    if message.kind == "event":
        return [subjects.event_subject(subjects.ANY_TENANT, message.context, message.event)]
    return [subjects.command_subject(service, lane) for service, lane in message.consumers.items()]
