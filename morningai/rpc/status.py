"""Errors as google.rpc.Status (AIP-193): a code, ErrorInfo, and the field, resource or delay where there is one."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, QuotaFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from morningai.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    MorningAIError,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    Retryable,
    StepFailure,
    Unauthenticated,
    plain,
)
from morningai.rpc.call import Context, to_a_caller_who_may_be_gone

M = TypeVar("M", bound=Message)

DOMAIN = "morningai"
CODES: tuple[tuple[type[MorningAIError], grpc.StatusCode], ...] = (
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (StepFailure, grpc.StatusCode.FAILED_PRECONDITION),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (Conflict, grpc.StatusCode.ABORTED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (QuotaExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (RateLimited, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Retryable, grpc.StatusCode.UNAVAILABLE),
)
DEFAULT_RETRY_SECONDS = 1.0
# A status travels as metadata, of which gRPC takes 8 KiB, and says its message in two places and percent-encoded.
LONGEST_MESSAGE_BYTES = 600
LONGEST_REMEDY_BYTES = 400
LONGEST_NAME_BYTES = 200


def code_of(error: MorningAIError) -> grpc.StatusCode:
    return next((code for kind, code in CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def status_of(error: MorningAIError) -> Status:
    remedy = _clipped(error.remedy, LONGEST_REMEDY_BYTES)
    message = f"{_clipped(error.message, LONGEST_MESSAGE_BYTES)} {remedy}".strip()
    return Status(code=code_of(error).value[0], message=message, details=[_pack(d) for d in _details(error, remedy)])


async def abort(context: Context, error: MorningAIError) -> None:
    """End the call with the error's status; always raises."""
    status = rpc_status.to_status(status_of(error))
    with to_a_caller_who_may_be_gone():
        await context.abort(status.code, status.details, status.trailing_metadata)


def field_violations(error: grpc.RpcError) -> list[tuple[str, str]]:
    """(field, description) pairs of a failed call, for clients."""
    return [(v.field, v.description) for d in _unpack(error, BadRequest) for v in d.field_violations]


def reason_of(error: grpc.RpcError) -> str:
    """The machine-readable reason of a failed call; empty when it carries none."""
    return next((info.reason for info in _unpack(error, ErrorInfo)), "")


def remedy_of(error: grpc.RpcError) -> str:
    """What to do about a failed call; empty when it does not say."""
    return next((str(info.metadata.get("remedy", "")) for info in _unpack(error, ErrorInfo)), "")


def limit_of(error: grpc.RpcError) -> str:
    """The limit that a failed call names; empty when it names none."""
    return next((str(info.metadata.get("limit", "")) for info in _unpack(error, ErrorInfo)), "")


def retry_seconds_of(error: grpc.RpcError) -> float | None:
    """After how long a failed call may be made again; None when it does not say."""
    return next((info.retry_delay.ToNanoseconds() / 1e9 for info in _unpack(error, RetryInfo)), None)


def _details(error: MorningAIError, remedy: str) -> list[Message]:
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"remedy": remedy})
    details: list[Message] = [info]
    if isinstance(error, (RateLimited, QuotaExceeded)):
        info.metadata["limit"] = error.limit
        violation_of_quota = QuotaFailure.Violation(
            subject=error.limit, description=_clipped(error.message, LONGEST_MESSAGE_BYTES)
        )
        details.append(QuotaFailure(violations=[violation_of_quota]))
    if isinstance(error, InvalidInput):
        description = f"{_clipped(error.problem, LONGEST_MESSAGE_BYTES)} {remedy}".strip()
        violation = BadRequest.FieldViolation(field=error.field, description=description)
        details.append(BadRequest(field_violations=[violation]))
    if isinstance(error, (NotFound, AlreadyExists)):
        name = _clipped(error.name, LONGEST_NAME_BYTES)
        details.append(ResourceInfo(resource_type=error.resource, resource_name=name))
    if isinstance(error, Retryable):
        seconds = error.retry_after_seconds or DEFAULT_RETRY_SECONDS
        delay = Duration()
        delay.FromNanoseconds(int(seconds * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    if remedy:
        details.append(Help(links=[Help.Link(description=remedy)]))
    return details


@lru_cache(maxsize=64)  # a flood is refused with the same words
def _clipped(text: str, most_bytes: int) -> str:
    encoded = plain(text).encode()
    return encoded.decode() if len(encoded) <= most_bytes else f"{encoded[: most_bytes - 3].decode(errors='ignore')}…"


def _pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _unpack(error: grpc.RpcError, kind: type[M]) -> list[M]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an RpcError of a call is also the call
    found = []
    for packed in status.details if status else ():
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found
