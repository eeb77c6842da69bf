"""The source that a task is about, as docs knows it."""

from __future__ import annotations

import grpc

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.deadline import seconds_left
from morningai.errors import NotFound
from morningai.rpc.call import CURRENT_CALL, Context
from morningai.rpc.channel import proof_metadata
from services.gateway.forwarder import abort_as


class TaskSources:
    def __init__(self, docs: grpc.aio.Channel) -> None:
        self._sources = sources_pb2_grpc.SourceServiceStub(docs)

    async def check(self, source: str, context: Context, *, field: str) -> None:
        """Raises NotFound that names the field."""
        try:
            await self._sources.GetSource(
                sources.GetSourceRequest(name=source),
                metadata=proof_metadata(CURRENT_CALL.get().proof),
                timeout=seconds_left(),
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise NotFound(field, source, remedy="Add it with `morningai source add`.") from error
            await abort_as(context, error)
