"""A tenant's webhook endpoints and deliveries, in its own session."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.session import Session
from morningai.secrets.vault import Cell
from services.gateway.domain.webhooks import (
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointContent,
    EndpointState,
)

QUERIES = load_queries(__file__)
END_OF_TIME = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
LAST_ID = UUID(int=2**128 - 1)
Key = tuple[datetime, UUID]


def secret_cell(tenant_id: UUID, endpoint_id: UUID, *, previous: bool = False) -> Cell:
    return Cell(tenant_id, "gateway.webhook_endpoints", "previous_secret" if previous else "secret", endpoint_id)


async def count_endpoints(session: Session) -> int:
    row = await session.row(QUERIES["count_endpoints"])
    return int(row["count"]) if row else 0


async def insert_endpoint(session: Session, endpoint_id: UUID, content: EndpointContent, *, secret: bytes) -> Endpoint:
    row = await session.row(QUERIES["insert_endpoint"], {**_content(endpoint_id, content), "secret": secret})
    assert row is not None
    return _endpoint(row)


async def get_endpoint(session: Session, endpoint_id: UUID) -> Endpoint | None:
    row = await session.row(QUERIES["get_endpoint"], {"endpoint_id": endpoint_id})
    return _endpoint(row) if row else None


async def lock_endpoint(session: Session, endpoint_id: UUID) -> tuple[Endpoint, bytes] | None:
    """With its sealed secret."""
    row = await session.row(QUERIES["lock_endpoint"], {"endpoint_id": endpoint_id})
    return (_endpoint(row), row["secret"]) if row else None


async def list_endpoints(session: Session, *, before: Key | None, limit: int) -> list[Endpoint]:
    rows = await session.rows(QUERIES["list_endpoints"], _page(before, limit))
    return [_endpoint(row) for row in rows]


async def update_endpoint(session: Session, endpoint_id: UUID, content: EndpointContent) -> None:
    await session.execute(QUERIES["update_endpoint"], _content(endpoint_id, content))


async def update_state(session: Session, endpoint_id: UUID, state: EndpointState, *, reason: str) -> None:
    parameters: dict[str, object] = {"endpoint_id": endpoint_id, "state": state, "reason": reason}
    await session.execute(QUERIES["update_state"], parameters)


async def delete_endpoint(session: Session, endpoint_id: UUID) -> bool:
    return await session.execute(QUERIES["delete_endpoint"], {"endpoint_id": endpoint_id}) == 1


async def replace_secret(
    session: Session, endpoint_id: UUID, *, secret: bytes, previous_secret: bytes, overlap_seconds: float
) -> Endpoint:
    row = await session.row(
        QUERIES["replace_secret"],
        {
            "endpoint_id": endpoint_id,
            "secret": secret,
            "previous_secret": previous_secret,
            "overlap_seconds": overlap_seconds,
        },
    )
    assert row is not None
    return _endpoint(row)


async def insert_deliveries(session: Session, *, event_id: UUID, event_type: str, body: str) -> int:
    """One for each endpoint that wants the event; returns how many."""
    parameters: dict[str, object] = {"event_id": event_id, "event_type": event_type, "body": body}
    return await session.execute(QUERIES["insert_deliveries"], parameters)


async def insert_delivery(
    session: Session, endpoint_id: UUID, *, event_id: UUID, event_type: str, body: str
) -> Delivery:
    row = await session.row(
        QUERIES["insert_delivery"],
        {"endpoint_id": endpoint_id, "event_id": event_id, "event_type": event_type, "body": body},
    )
    assert row is not None
    return _delivery(row)


async def list_deliveries(session: Session, endpoint_id: UUID, *, before: Key | None, limit: int) -> list[Delivery]:
    parameters = {"endpoint_id": endpoint_id, **_page(before, limit)}
    return [_delivery(row) for row in await session.rows(QUERIES["list_deliveries"], parameters)]


async def deliver_again(session: Session, endpoint_id: UUID, delivery_id: UUID) -> Delivery | None:
    parameters: dict[str, object] = {"endpoint_id": endpoint_id, "delivery_id": delivery_id}
    row = await session.row(QUERIES["deliver_again"], parameters)
    return _delivery(row) if row else None


def _content(endpoint_id: UUID, content: EndpointContent) -> dict[str, object]:
    return {
        "endpoint_id": endpoint_id,
        "url": content.url,
        "event_types": list(content.event_types),
        "description": content.description,
    }


def _page(before: Key | None, limit: int) -> dict[str, object]:
    time, last_id = before or (END_OF_TIME, LAST_ID)
    return {"before_time": time, "before_id": last_id, "limit": limit}


def _endpoint(row: DictRow) -> Endpoint:
    return Endpoint(
        endpoint_id=row["endpoint_id"],
        content=EndpointContent(row["url"], tuple(row["event_types"]), row["description"]),
        state=EndpointState(row["state"]),
        disabled_reason=row["disabled_reason"],
        previous_secret_expires_at=row["previous_secret_expires_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _delivery(row: DictRow) -> Delivery:
    return Delivery(
        delivery_id=row["delivery_id"],
        endpoint_id=row["endpoint_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        due_at=row["due_at"],
        response_status=row["response_status"],
        response_body=row["response_body"],
        error=row["error"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )
