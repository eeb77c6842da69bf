"""Forwards the calls of the other services' public methods as bytes, driven by their descriptors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import grpc

from morningai.deadline import seconds_left
from morningai.errors import Unavailable
from morningai.rpc.call import CURRENT_CALL, Context, rules_of, to_a_caller_who_may_be_gone
from morningai.rpc.channel import proof_metadata
from morningai.rpc.status import reason_of


class Forwarder(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """`routes` maps full service names to channels; methods marked internal are not forwarded."""

    def __init__(self, routes: Mapping[str, grpc.aio.Channel]) -> None:
        self._channels = {
            name: channel
            for service, channel in routes.items()
            for name, rule in rules_of(service).items()
            if not rule.internal
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails):  # type: ignore[no-untyped-def]
        method = handler_call_details.method
        channel = self._channels.get(method)
        if channel is None:
            return None

        def forward(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            return self._forward(channel, method, requests, context)

        return grpc.stream_stream_rpc_method_handler(forward)

    async def _forward(
        self, channel: grpc.aio.Channel, method: str, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        upstream = channel.stream_stream(method)(  # type: ignore[call-arg]  # without serializers, bytes pass as they are
            requests,
            metadata=proof_metadata(CURRENT_CALL.get().proof),
            timeout=seconds_left(),
        )
        try:
            async for response in upstream:
                yield response
        except grpc.aio.AioRpcError as error:
            await abort_as(context, error)
        finally:
            upstream.cancel()


async def abort_as(context: Context, error: grpc.aio.AioRpcError) -> None:
    """End the caller's call as the upstream call ended; always raises.

    A service that cannot be reached has written no status, and gRPC's own names addresses of the inside.
    """
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason_of(error):
        raise Unavailable("The service behind this call does not answer.", remedy="Try again in a moment.") from error
    with to_a_caller_who_may_be_gone():
        await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))  # type: ignore[arg-type]
