"""CloudEvents 1.0 in binary mode: `ce-*` headers, a W3C `traceparent`, a protobuf body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.message import DecodeError, Message

from morningai.bus.catalogue import BY_NAME, MessageType
from morningai.errors import Poison

CONTENT_TYPE = "application/protobuf"


@dataclass(frozen=True)
class Envelope:
    """A message as it travels; `seal` proves the tenant and is verified by PostgreSQL, not here."""

    id: UUID
    type: MessageType
    source: str
    tenant_id: UUID
    task_id: UUID
    seal: str
    traceparent: str
    body: bytes
    causation_id: UUID | None = None
    work_id: UUID | None = None

    def message(self) -> Message:
        """The decoded body; raises Poison."""
        try:
            return self.type.body.FromString(self.body)
        except DecodeError as error:
            raise Poison(f"The body of {self.type.short_name} {self.id} is not valid protobuf.") from error


def encode_headers(envelope: Envelope, *, time: datetime) -> dict[str, str]:
    headers = encode_public_headers(envelope, time=time) | {"ce-seal": envelope.seal}
    if envelope.causation_id:
        headers["ce-causationid"] = str(envelope.causation_id)
    if envelope.work_id:
        headers["ce-workid"] = str(envelope.work_id)
    return headers


def encode_public_headers(envelope: Envelope, *, time: datetime) -> dict[str, str]:
    """Those that a subscriber may see: the seal would open the tenant's rows."""
    return {
        "ce-specversion": "1.0",
        "ce-id": str(envelope.id),
        "ce-type": envelope.type.name,
        "ce-source": envelope.source,
        "ce-subject": f"tasks/{envelope.task_id}",
        "ce-time": time.astimezone(UTC).isoformat(),
        "ce-tenantid": str(envelope.tenant_id),
        "traceparent": envelope.traceparent,
        "content-type": CONTENT_TYPE,
        "Nats-Msg-Id": str(envelope.id),
    }


def decode(headers: Mapping[str, str], body: bytes) -> Envelope:
    """Raises Poison for a missing or malformed header and for a type the catalogue does not have."""
    name = headers.get("ce-type", "")
    if name not in BY_NAME:
        raise Poison(f"Unknown message type '{name}'.")
    return Envelope(
        id=_uuid(headers, "ce-id"),
        type=BY_NAME[name],
        source=headers.get("ce-source", ""),
        tenant_id=_uuid(headers, "ce-tenantid"),
        task_id=_task_id(headers),
        seal=headers.get("ce-seal", ""),
        traceparent=headers.get("traceparent", ""),
        body=body,
        causation_id=_uuid(headers, "ce-causationid") if "ce-causationid" in headers else None,
        work_id=_uuid(headers, "ce-workid") if "ce-workid" in headers else None,
    )


def _uuid(headers: Mapping[str, str], name: str) -> UUID:
    try:
        return UUID(headers.get(name, ""))
    except ValueError as error:
        raise Poison(f"Header {name} is not a UUID: '{headers.get(name, '')}'.") from error


def _task_id(headers: Mapping[str, str]) -> UUID:
    subject = headers.get("ce-subject", "")
    try:
        return UUID(subject.removeprefix("tasks/"))
    except ValueError as error:
        raise Poison(f"Header ce-subject does not name a task: '{subject}'.") from error
