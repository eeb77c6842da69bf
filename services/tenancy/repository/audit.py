"""Entries of the audit log, read; they are written by functions of PostgreSQL alone."""

from __future__ import annotations

from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.session import Session
from services.tenancy.domain.audit import AuditEntry, AuditFilter
from services.tenancy.domain.pages import Page
from services.tenancy.repository.pages import page_parameters

QUERIES = load_queries(__file__)


async def list_entries(session: Session, filter_: AuditFilter, page: Page) -> list[AuditEntry]:
    """Newest first; one more than the page holds, if there is one."""
    rows = await session.rows(QUERIES["list_entries"], {**vars(filter_), **page_parameters(page)})
    return [_entry(row) for row in rows]


async def list_entries_after(
    session: Session, filter_: AuditFilter, after: AuditEntry | None, *, limit: int
) -> list[AuditEntry]:
    """Oldest first."""
    place = {"after_time": after and after.created_at, "after_id": after and after.entry_id, "limit": limit}
    rows = await session.rows(QUERIES["list_entries_after"], {**vars(filter_), **place})
    return [_entry(row) for row in rows]


async def list_operator_entries(session: Session, page: Page) -> list[AuditEntry]:
    """In an operator's session. Newest first; one more than the page holds, if there is one."""
    return [_entry(row) for row in await session.rows(QUERIES["list_operator_entries"], page_parameters(page))]


def _entry(row: DictRow) -> AuditEntry:
    return AuditEntry(**row)
