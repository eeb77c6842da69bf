"""Rows of documents and their immutable versions."""

from __future__ import annotations

from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.session import Session
from morningai.errors import NotFound
from morningai.evidence.messages import claim_rows, claims_of_rows
from morningai.evidence.model import Claim
from services.docs.domain import StoredDocument
from services.docs.repository import QUERIES


async def insert_document(
    session: Session,
    *,
    source_id: str,
    task_id: UUID,
    title: str,
    content: str,
    content_hash: str,
    claims: tuple[Claim, ...],
    metadata: dict[str, str],
) -> tuple[UUID, int]:
    """Store a new document with its first version, as a draft; returns its id and the version."""
    row = await session.row(QUERIES["insert_document"], {"source_id": source_id, "task_id": task_id, "title": title})
    assert row is not None
    version = await session.row(
        QUERIES["insert_document_version"],
        {
            "document_id": row["document_id"],
            "title": title,
            "content": content,
            "content_hash": content_hash,
            "claims": Jsonb(claim_rows(claims)),
            "metadata": Jsonb(metadata),
        },
    )
    assert version is not None
    return UUID(str(row["document_id"])), int(version["version"])


async def mark_document_published(session: Session, document_id: UUID, *, version: int, content_hash: str) -> bool:
    """False when that version does not exist under that hash."""
    parameters: dict[str, object] = {"document_id": document_id, "version": version, "content_hash": content_hash}
    return await session.row(QUERIES["mark_document_published"], parameters) is not None


async def get_document(session: Session, document_id: UUID, *, version: int) -> StoredDocument:
    """The newest version when `version` is 0. Raises NotFound."""
    row = await session.row(QUERIES["get_document"], {"document_id": document_id, "version": version})
    if row is None:
        raise NotFound("document", f"documents/{document_id}" + (f"@{version}" if version else ""))
    return _document(row, content=row["content"], claims=claims_of_rows(row["claims"]), metadata=row["metadata"])


async def list_documents(session: Session, *, before: UUID | None, limit: int) -> list[StoredDocument]:
    rows = await session.rows(QUERIES["list_documents"], {"before": before, "limit": limit})
    return [_document(row, content="", claims=(), metadata=row["metadata"]) for row in rows]


def _document(row: DictRow, *, content: str, claims: tuple[Claim, ...], metadata: dict[str, str]) -> StoredDocument:
    return StoredDocument(
        document_id=row["document_id"],
        title=row["title"],
        source_id=row["source_id"],
        version=row["version"],
        published_version=row["published_version"],
        content=content,
        content_hash=row["content_hash"],
        claims=claims,
        metadata=metadata,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
