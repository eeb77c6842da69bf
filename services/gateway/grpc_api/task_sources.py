"""The source that a task is about, as docs knows it."""

from __future__ import annotations

import grpc

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.deadline import seconds_left
from morningai.errors import InvalidInput, NotFound
from morningai.rpc.call import CURRENT_CALL, Context
from morningai.rpc.channel import proof_metadata
from services.gateway.domain.tasks import NewTask
from services.gateway.forwarder import abort_as


class TaskSources:
    def __init__(self, docs: grpc.aio.Channel) -> None:
        self._sources = sources_pb2_grpc.SourceServiceStub(docs)

    async def check(self, new: NewTask, context: Context, *, field: str) -> None:
        """Raises NotFound, or InvalidInput for a delivery to nowhere; `field` holds the task."""
        try:
            source = await self._sources.GetSource(
                sources.GetSourceRequest(name=new.source),
                metadata=proof_metadata(CURRENT_CALL.get().proof),
                timeout=seconds_left(),
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise NotFound(f"{field}.source", new.source, remedy="Add it with `morningai source add`.") from error
            await abort_as(context, error)
            raise
        if new.branch is not None and source.kind != sources.SOURCE_KIND_REMOTE:
            raise InvalidInput(
                f"{field}.delivery",
                f"{new.source} was uploaded and has no remote to push to.",
                remedy="Leave it out and apply the patch yourself, or add the remote: `morningai source add NAME URL`.",
            )
