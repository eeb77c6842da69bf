"""Webhook endpoints and deliveries: what may be asked for, how a delivery is signed, when it is tried again.

Signatures are those of Standard Webhooks (standardwebhooks.com), version 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from morningai.errors import InvalidInput

LONGEST_URL = 2000
LONGEST_DESCRIPTION = 200
MOST_ENDPOINTS = 20
SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix of every secret
PING = "webhook.ping"
GONE = 410
URL_REMEDY = "Use https://host/path."


class EndpointState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Target:
    """Where deliveries go, in parts."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the header `host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class EndpointContent:
    """What a tenant decides about an endpoint."""

    url: str
    event_types: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class Endpoint:
    endpoint_id: UUID
    content: EndpointContent
    state: EndpointState
    disabled_reason: str
    previous_secret_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> tuple[datetime, UUID]:
        """Where it stands among the tenant's endpoints."""
        return self.created_at, self.endpoint_id


@dataclass(frozen=True)
class Delivery:
    delivery_id: UUID
    endpoint_id: UUID
    event_id: UUID
    event_type: str
    state: DeliveryState
    attempts: int
    due_at: datetime
    response_status: int
    response_body: str
    error: str
    created_at: datetime
    ended_at: datetime | None

    @property
    def key(self) -> tuple[datetime, UUID]:
        """Where it stands among the deliveries to its endpoint."""
        return self.created_at, self.delivery_id


@dataclass(frozen=True)
class Claim:
    """A delivery that one sender holds for now, with what it needs to try it."""

    tenant_id: UUID
    delivery_id: UUID
    claim_id: UUID
    endpoint_id: UUID
    event_id: UUID
    body: str
    attempt: int
    url: str
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """What came of one try; `status` is 0 when no answer came.

    A failure that is not the endpoint's, such as a resolver that is away, does not count towards disabling it.
    """

    status: int = 0
    body: str = ""
    error: str = ""
    blames_endpoint: bool = True

    @property
    def succeeded(self) -> bool:
        return not self.error and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == GONE


class Lasting(NamedTuple):
    """An endpoint is disabled after so many failures in a row over so long a time."""

    failures: int
    hours: float


def check_content(
    *, url: str, event_types: Iterable[str], description: str, public_types: Collection[str]
) -> EndpointContent:
    """Raises InvalidInput that names the field and the remedy."""
    target_of(url)
    if len(description) > LONGEST_DESCRIPTION:
        raise InvalidInput(
            "webhook_endpoint.description",
            f"has {len(description)} characters.",
            remedy=f"Use at most {LONGEST_DESCRIPTION}.",
        )
    return EndpointContent(url, _event_types(tuple(event_types), public_types), description)


def target_of(url: str) -> Target:
    """The parts of an endpoint's address. Raises InvalidInput."""
    if len(url) > LONGEST_URL:
        raise InvalidInput("webhook_endpoint.url", "is too long.", remedy=f"Use at most {LONGEST_URL} characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong_url("is not an address.") from error
    if not url.isascii() or any(c <= " " or c == "\\" or c == "\x7f" for c in url):
        raise _wrong_url("is not an address: it has spaces or other characters that must be encoded.")
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise _wrong_url("is not an https address.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _wrong_url("contains credentials or a fragment.")
    return _target(parts, parts.hostname, port)


def _target(parts: SplitResult, host: str, port: int | None) -> Target:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme], path)


def _wrong_url(problem: str) -> InvalidInput:
    return InvalidInput("webhook_endpoint.url", problem, remedy=URL_REMEDY)


def _event_types(event_types: tuple[str, ...], public_types: Collection[str]) -> tuple[str, ...]:
    unknown = next((name for name in event_types if name not in public_types), None)
    if unknown is not None:
        raise InvalidInput(
            "webhook_endpoint.event_types",
            f"'{unknown[:80]}' comes to no webhook.",
            remedy=f"Use {', '.join(sorted(public_types))}, or none for all of them.",
        )
    return tuple(dict.fromkeys(event_types))


def secret_text(secret: bytes) -> str:
    """As it is shown once."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signature_header(secrets: Sequence[bytes], *, webhook_id: UUID, timestamp: int, body: str) -> str:
    """One signature for each secret: the receiver takes any."""
    signed = f"{webhook_id}.{timestamp}.{body}".encode()
    digests = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{binascii.b2a_base64(digest, newline=False).decode()}" for digest in digests)


def retry_delay(attempt: int, delays: Sequence[float], *, jitter: float) -> float | None:
    """Seconds until the try after this one, None when it was the last. `jitter` is in 0…1 and adds up to a fifth."""
    return delays[attempt - 1] * (1 + jitter / 5) if attempt <= len(delays) else None
