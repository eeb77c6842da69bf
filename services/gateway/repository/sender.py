"""What the sender's own login reads and marks, of all tenants."""

from __future__ import annotations

from uuid import UUID

from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.session import Connection
from services.gateway.domain.webhooks import Claim, DeliveryState, Lasting, Outcome

QUERIES = load_queries(__file__)


async def claim_deliveries(
    connection: Connection, *, limit: int, per_tenant: int, per_endpoint: int, lease_seconds: float
) -> list[Claim]:
    """Due deliveries, which nobody else takes for `lease_seconds`."""
    await connection.execute(QUERIES["lock_claims"])
    parameters = {
        "limit": limit,
        "per_tenant": per_tenant,
        "per_endpoint": per_endpoint,
        "lease_seconds": lease_seconds,
    }
    rows = await (await connection.execute(QUERIES["claim_deliveries"], parameters)).fetchall()
    return [Claim(**row) for row in rows]


async def get_data_key(connection: Connection, tenant_id: UUID, data_key_id: UUID) -> bytes | None:
    row = await _row(connection, "get_data_key", {"tenant_id": tenant_id, "data_key_id": data_key_id})
    return row["wrapped"] if row else None


async def lock_endpoint(connection: Connection, claim: Claim) -> None:
    """Before the delivery, as whoever deletes the endpoint does."""
    await connection.execute(QUERIES["lock_endpoint"], _endpoint(claim))


async def finish_delivery(
    connection: Connection, claim: Claim, outcome: Outcome, *, state: DeliveryState, delay_seconds: float
) -> bool:
    """False when the claim is not held any more: then nothing was written."""
    parameters = {
        "tenant_id": claim.tenant_id,
        "delivery_id": claim.delivery_id,
        "claim_id": claim.claim_id,
        "state": state,
        "response_status": outcome.status,
        "response_body": outcome.body,
        "error": outcome.error,
        "delay_seconds": delay_seconds,
    }
    return (await connection.execute(QUERIES["finish_delivery"], parameters)).rowcount == 1


async def count_success(connection: Connection, claim: Claim) -> None:
    await connection.execute(QUERIES["count_success"], _endpoint(claim))


async def count_failure(connection: Connection, claim: Claim) -> Lasting:
    """How many failures in a row the endpoint has now, and over how long."""
    row = await _row(connection, "count_failure", _endpoint(claim))
    return Lasting(row["failures"], row["hours"]) if row else Lasting(0, 0.0)


async def disable_endpoint(connection: Connection, claim: Claim, *, reason: str) -> None:
    await connection.execute(QUERIES["disable_endpoint"], {**_endpoint(claim), "reason": reason})


async def seconds_to_next(connection: Connection) -> float | None:
    """Until the next delivery is due; None when there is none."""
    row = await _row(connection, "get_next_due", {})
    return row["seconds"] if row else None


def _endpoint(claim: Claim) -> dict[str, object]:
    return {"tenant_id": claim.tenant_id, "endpoint_id": claim.endpoint_id}


async def _row(connection: Connection, name: str, parameters: dict[str, object]) -> DictRow | None:
    return await (await connection.execute(QUERIES[name], parameters)).fetchone()
