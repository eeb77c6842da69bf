"""The rows of tenants' model endpoints, their keys sealed."""

from __future__ import annotations

from uuid import UUID

from morningai.db.queries import load_queries
from morningai.db.session import Session
from morningai.secrets.vault import Cell
from services.tenancy.domain.model_endpoints import ModelEndpoint

QUERIES = load_queries(__file__)


def key_cell(tenant_id: UUID, endpoint: ModelEndpoint) -> Cell:
    """A key that was stored for one address does not open for another."""
    return Cell(tenant_id, "tenancy.model_endpoints", "api_key", f"{endpoint.kind} {endpoint.base_url}")


async def set_endpoint(session: Session, endpoint: ModelEndpoint, sealed_key: bytes | None) -> None:
    await session.execute(
        QUERIES["set_model_endpoint"],
        {
            "kind": endpoint.kind,
            "base_url": endpoint.base_url,
            "model": endpoint.model,
            "context_tokens": endpoint.context_tokens,
            "api_key": sealed_key,
        },
    )


async def clear_endpoint(session: Session, kind: str) -> None:
    await session.execute(QUERIES["clear_model_endpoint"], {"kind": kind})


async def list_endpoints(session: Session) -> list[ModelEndpoint]:
    return [ModelEndpoint(**row) for row in await session.rows(QUERIES["list_model_endpoints"])]


async def get_endpoint(session: Session, kind: str) -> tuple[ModelEndpoint, bytes | None] | None:
    """The endpoint for a kind of task, its own or that for any, and its sealed key."""
    row = await session.row(QUERIES["get_model_endpoint"], {"kind": kind})
    if row is None:
        return None
    sealed = row.pop("api_key")
    return ModelEndpoint(**row, has_api_key=sealed is not None), sealed
