"""Refused calls of methods that administer, as entries of the tenant's audit log; PostgreSQL bounds how many."""

from __future__ import annotations

import asyncio
from typing import LiteralString

import psycopg
import structlog
from google.protobuf.message import Message
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from morningai.db.session import Database
from morningai.errors import FailedPrecondition, MorningAIError, PermissionDenied, QuotaExceeded, plain
from morningai.rpc.call import Call
from morningai.telemetry import current_trace_id

log = structlog.get_logger()

RECORD: LiteralString = (
    "SELECT tenancy.record_refusal(%(proof)s, %(action)s, %(resource)s, %(details)s, %(trace_id)s) AS recorded"
)
REFUSALS = (PermissionDenied, FailedPrecondition, QuotaExceeded)
# The caller waits for it.
SECONDS = 2.0
LONGEST_RESOURCE = 500


async def record_refusal(database: Database, call: Call, error: MorningAIError, request: object) -> None:
    """Where it cannot be recorded the log of the service has it, and the call ends as it would."""
    parameters: dict[str, object] = {
        "proof": call.proof,
        "action": call.rule.audit_action,
        "resource": resource_of(request),
        "details": Jsonb({"reason": error.reason, "message": plain(error.message)}),
        "trace_id": current_trace_id(),
    }
    try:
        async with asyncio.timeout(SECONDS):
            await database.decide(RECORD, parameters)
    except (psycopg.Error, PoolTimeout, TimeoutError, MorningAIError) as failure:
        log.warning("rpc.refusal.unrecorded", action=call.rule.audit_action, error=plain(str(failure)))


def resource_of(request: object) -> str:
    """What a request names, itself or in the resource that it carries; empty where it was not read or names nothing."""
    if not isinstance(request, Message):
        return ""
    carried = [value for _, value in request.ListFields() if isinstance(value, Message)]
    names = (getattr(message, "name", "") for message in (request, *carried))
    return plain(next((name for name in names if isinstance(name, str) and name), ""))[:LONGEST_RESOURCE]
