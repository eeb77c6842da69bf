"""ChangeService."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from morningai.api.answers.v1 import answers_pb2 as answers
from morningai.api.changes.v1 import changes_pb2 as api
from morningai.api.changes.v1 import changes_pb2_grpc
from morningai.db.session import Database
from morningai.errors import NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import timestamp
from services.codegen import repository


class ChangeServicer(changes_pb2_grpc.ChangeServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetChange(self, request: api.GetChangeRequest, context: Context) -> api.Change:
        async with rpc_session(self._database) as session:
            change = await repository.get_change(session, _change_id(request.name))
        return api.Change(
            name=f"changes/{change.change_id}",
            instruction=change.instruction,
            source=change.source,
            state=api.ChangeState.Value(f"CHANGE_STATE_{change.state.upper()}"),
            reason=change.reason,
            patch=change.patch,
            tests=[api.TestOutcome(**asdict(outcome)) for outcome in change.tests],
            attempts=change.attempts,
            evidence_bundle=change.evidence,
            provenance=answers.Provenance(**asdict(change.provenance)),
            create_time=timestamp(change.created_at),
        )


def _change_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("changes/"))
    except ValueError as error:
        raise NotFound("change", name) from error
