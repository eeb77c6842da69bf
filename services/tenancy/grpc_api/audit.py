"""AuditService."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from morningai.api.tenants.v1 import audit_pb2 as api
from morningai.api.tenants.v1 import audit_pb2_grpc
from morningai.db.session import Database
from morningai.errors import InvalidInput
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import moment, timestamp
from services.tenancy.domain.audit import AuditEntry, AuditFilter, check_filter
from services.tenancy.domain.pages import Place, check_page
from services.tenancy.repository import audit as repository

ENTRY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EXPORTED_AT_ONCE = 500
OUTCOMES = {
    api.AUDIT_OUTCOME_UNSPECIFIED: None,
    api.AUDIT_OUTCOME_SUCCEEDED: "succeeded",
    api.AUDIT_OUTCOME_REFUSED: "refused",
}


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListAuditEntries(
        self, request: api.ListAuditEntriesRequest, context: Context
    ) -> api.ListAuditEntriesResponse:
        page = check_page(request.page_size, request.page_token, id_form=ENTRY_ID)
        wanted = _filter(request.filter)
        async with rpc_session(self._database) as session:
            found = await repository.list_entries(session, wanted, page)
        last = found[page.size - 1] if len(found) > page.size else None
        return api.ListAuditEntriesResponse(
            entries=[_message(entry) for entry in found[: page.size]],
            next_page_token=Place(last.created_at, str(last.entry_id)).token() if last else "",
        )

    async def ListOperatorEntries(
        self, request: api.ListOperatorEntriesRequest, context: Context
    ) -> api.ListOperatorEntriesResponse:
        page = check_page(request.page_size, request.page_token, id_form=ENTRY_ID)
        async with rpc_session(self._database) as session:
            found = await repository.list_operator_entries(session, page)
        last = found[page.size - 1] if len(found) > page.size else None
        return api.ListOperatorEntriesResponse(
            entries=[_message(entry) for entry in found[: page.size]],
            next_page_token=Place(last.created_at, str(last.entry_id)).token() if last else "",
        )

    async def ExportAuditEntries(
        self, request: api.ExportAuditEntriesRequest, context: Context
    ) -> AsyncIterator[api.ExportAuditEntriesResponse]:
        wanted = _filter(request.filter)
        last: AuditEntry | None = None
        while True:
            async with rpc_session(self._database) as session:
                found = await repository.list_entries_after(session, wanted, last, limit=EXPORTED_AT_ONCE)
            for entry in found:
                yield api.ExportAuditEntriesResponse(entry=_message(entry))
            if len(found) < EXPORTED_AT_ONCE:
                return
            last = found[-1]


def _filter(given: api.AuditFilter) -> AuditFilter:
    """Raises InvalidInput."""
    if given.outcome not in OUTCOMES:
        raise InvalidInput("filter.outcome", "is unknown.", remedy="Use succeeded or refused, or leave it out.")
    return check_filter(
        action=given.action,
        principal=given.principal,
        start=moment(given.start_time, field="filter.start_time") if given.HasField("start_time") else None,
        end=moment(given.end_time, field="filter.end_time") if given.HasField("end_time") else None,
        outcome=OUTCOMES[given.outcome],
    )


def _message(entry: AuditEntry) -> api.AuditEntry:
    return api.AuditEntry(
        name=f"auditEntries/{entry.entry_id}",
        create_time=timestamp(entry.created_at),
        principal=entry.principal,
        action=entry.action,
        resource=entry.resource,
        details=ParseDict(dict(entry.details), Struct()),
        trace_id=entry.trace_id,
        outcome=api.AuditOutcome.Value(f"AUDIT_OUTCOME_{entry.outcome.upper()}"),
    )
