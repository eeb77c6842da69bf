"""Channels between services: traced, with the caller's proof in the metadata and a deadline on every call."""

from __future__ import annotations

import asyncio

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from morningai.errors import MorningAIError, NotFound, Outage, Permanent, Unavailable
from morningai.rpc.call import PROOF_KEY
from morningai.rpc.status import reason_of
from morningai.rpc.tls import channel_credentials, check_plaintext, internal_files
from morningai.settings import ServiceSettings

# Between services an overview of a large repository may be larger than what the public door takes.
LARGEST_REPLY_BYTES = 64 * 1024 * 1024
TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)


class EndingInterceptor(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Cancels a call whose caller was cancelled; the tracing around it waits for its status and would forget it."""

    async def intercept_unary_unary(  # type: ignore[no-untyped-def]  # as gRPC passes them
        self, continuation, client_call_details, request
    ):
        call = await continuation(client_call_details, request)
        try:
            await call.code()
        except asyncio.CancelledError:
            call.cancel()
            raise
        return call


def make_channel(address: str, settings: ServiceSettings | None = None) -> grpc.aio.Channel:
    """Mutual TLS where the settings have certificates, else plain. Raises SettingsInvalid."""
    interceptors = [*aio_client_interceptors(), EndingInterceptor()]  # type: ignore[no-untyped-call]
    options = [("grpc.max_receive_message_length", LARGEST_REPLY_BYTES), ("grpc.max_reconnect_backoff_ms", 1000)]
    files = internal_files(settings) if settings else None
    if files and not address.startswith("unix:"):
        return grpc.aio.secure_channel(address, channel_credentials(files), interceptors=interceptors, options=options)
    check_plaintext(address, allowed=settings is not None and settings.allow_plaintext)
    return grpc.aio.insecure_channel(address, interceptors=interceptors, options=options)


def proof_metadata(proof: str) -> tuple[tuple[str, str], ...]:
    return ((PROOF_KEY, proof),)


def error_of(error: grpc.aio.AioRpcError, *, peer: str) -> MorningAIError:
    """An upstream's failure as one of ours: transient codes are retryable, the others final."""
    reason = reason_of(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason:  # gRPC's own words name the address
        return Outage(f"{peer} does not answer.")
    message = f"{peer}: {error.details()}"
    if reason == Outage.reason:
        return Outage(message)
    if error.code() in TRANSIENT:
        return Unavailable(message)
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound("resource", str(error.details()))
    return Permanent(message)
