"""The one place that builds subject names; no task id ever stands in one."""

from __future__ import annotations

from uuid import UUID

EVENTS_STREAM = "EVENTS"
COMMANDS_STREAM = "COMMANDS"
PUBLIC_STREAM = "PUBLIC"
EVENTS_PREFIX = "morningai.event"
COMMANDS_PREFIX = "morningai.command"
PUBLIC_PREFIX = "morningai.public"
REPLAY_PREFIX = "morningai.replay"
ACKNOWLEDGEMENT_PREFIX = "morningai.acknowledgement"
PULSE_PREFIX = "morningai.pulse"
PROGRESS_PREFIX = "morningai.progress"
ANY_TENANT = "*"
UUID_LENGTH = 36


def event_subject(tenant: UUID | str, context: str, event: str) -> str:
    return f"{EVENTS_PREFIX}.{tenant}.{context}.{event}"


def public_subject(tenant: UUID | str, context: str, event: str) -> str:
    """Where the copy of an event goes that subscribers may see."""
    return f"{PUBLIC_PREFIX}.{tenant}.{context}.{event}"


def command_subject(service: str, lane: str) -> str:
    """Long work waits in the service's own queue; what must not wait behind it has a lane of its own."""
    return f"{COMMANDS_PREFIX}.{service}" if lane == "work" else f"{COMMANDS_PREFIX}.{service}.{lane}"


def pulse_subject(service: str) -> str:
    """Core NATS, between the replicas of a service."""
    return f"{PULSE_PREFIX}.{service}"


def progress_subject(service: str, tenant: UUID | str) -> str:
    """Core NATS, from a worker to the gateways."""
    return f"{PROGRESS_PREFIX}.{service}.{tenant}"


def replay_durable(tenant: UUID, key_id: str) -> str:
    """The consumer in PUBLIC that remembers what a key has acknowledged."""
    return f"sub-{tenant}-{key_id}"


def replay_owner(durable: str) -> tuple[str, str]:
    """The tenant and the key id that such a name was made of."""
    owner = durable.removeprefix("sub-")
    return owner[:UUID_LENGTH], owner[UUID_LENGTH + 1 :]


def replay_subject(tenant: UUID, key_id: str) -> str:
    """Where that consumer delivers."""
    return f"{REPLAY_PREFIX}.{tenant}.{key_id}"
