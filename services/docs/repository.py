"""Docs' rows: sources and uploads here, what was read in index_rows, documents in document_rows."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.queries import load_queries
from morningai.db.quotas import Quota, check_quota
from morningai.db.session import Session
from morningai.errors import NotFound, StepFailure
from morningai.secrets.vault import Cell
from services.docs.domain import Source

QUERIES = load_queries(__file__)


async def principal_may(session: Session, scope: str) -> bool:
    """Whether who began the session's task still holds the scope: a revoked key and a removed member do not."""
    row = await session.row(QUERIES["principal_may"], {"scope": scope})
    return row is not None and bool(row["may"])


async def check_principal(session: Session, scope: str, *, doing: str) -> None:
    """Before an effect. Raises StepFailure when whoever asked for it no longer may."""
    if not await principal_may(session, scope):
        raise StepFailure(
            "principal_revoked",
            f"Whoever asked for the task may no longer {doing}: the key is revoked or expired, the member is removed, "
            "or the tenant is suspended.",
            remedy="Ask again with a valid key.",
        )


async def insert_source(
    session: Session,
    *,
    source_id: str,
    repository: str,
    remote_uri: str = "",
    bundle_digest: str = "",
    commit: str = "",
) -> Source | None:
    """None when the name is taken. Raises QuotaExceeded."""
    row = await session.row(
        QUERIES["insert_source"],
        {
            "source_id": source_id,
            "kind": "remote" if remote_uri else "upload",
            "repository": repository,
            "remote_uri": remote_uri or None,
            "revision": "HEAD",
            "bundle_digest": bundle_digest or None,
            "commit": commit,
        },
    )
    if row is None:
        return None
    await check_quota(session, Quota.SOURCES, QUERIES["count_sources"])
    return _source(row)


async def replace_bundle(
    session: Session, *, source_id: str, repository: str, bundle_digest: str, commit: str
) -> Source | None:
    """None when the source is no uploaded one."""
    row = await session.row(
        QUERIES["replace_bundle"],
        {"source_id": source_id, "repository": repository, "bundle_digest": bundle_digest, "commit": commit},
    )
    return _source(row) if row else None


async def get_source(session: Session, source_id: str) -> Source:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_source"], {"source_id": source_id})
    if row is None:
        raise NotFound("source", f"sources/{source_id}", remedy="Add it with `morningai source add`.")
    return _source(row)


async def list_sources(session: Session, *, after: str, limit: int) -> list[Source]:
    return [_source(row) for row in await session.rows(QUERIES["list_sources"], {"after": after, "limit": limit})]


async def mark_source_indexed(session: Session, source: Source, commit: str) -> None:
    """Nothing happens when another bundle was uploaded meanwhile: that one is still to be indexed."""
    parameters: dict[str, object] = {"source_id": source.source_id, "commit": commit}
    await session.execute(QUERIES["mark_source_indexed"], parameters | {"bundle_digest": source.bundle_digest or None})


async def insert_patch(session: Session, task_id: UUID, change: str, patch: str) -> None:
    await session.execute(QUERIES["insert_patch"], {"task_id": task_id, "change": change, "patch": patch})


async def get_patch(session: Session, task_id: UUID, change: str, *, patch_hash: str) -> str | None:
    """None while codegen has not handed it over."""
    parameters: dict[str, object] = {"task_id": task_id, "change": change, "patch_hash": patch_hash}
    row = await session.row(QUERIES["get_patch"], parameters)
    return row["patch"] if row else None


def credential_cell(tenant_id: UUID, source: Source) -> Cell:
    """A token that was stored for one remote does not open for another."""
    return Cell(tenant_id, "docs.source_credentials", "token", f"{source.source_id} {source.remote_uri}")


async def put_credential(session: Session, source_id: str, *, username: str, token: bytes) -> None:
    """`token` is sealed."""
    await session.execute(QUERIES["put_credential"], {"source_id": source_id, "username": username, "token": token})


async def get_credential(session: Session, source_id: str) -> tuple[str, bytes] | None:
    """The username and the sealed token."""
    row = await session.row(QUERIES["get_credential"], {"source_id": source_id})
    return (row["username"], row["token"]) if row else None


async def delete_credential(session: Session, source_id: str) -> bool:
    return await session.execute(QUERIES["delete_credential"], {"source_id": source_id}) == 1


async def record(session: Session, action: str, source: Source, details: Mapping[str, object]) -> None:
    """An entry of the tenant's audit log."""
    parameters = {"action": f"sources.{action}", "resource": source.name, "details": Jsonb(dict(details))}
    await session.row(QUERIES["record"], parameters)


async def insert_artifact(session: Session, *, digest: str, media_type: str, size_bytes: int) -> bool:
    """False when the tenant has it already. Raises QuotaExceeded."""
    parameters: dict[str, object] = {"digest": digest, "media_type": media_type, "size_bytes": size_bytes}
    inserted = await session.row(QUERIES["insert_artifact"], parameters) is not None
    if inserted:
        await check_storage(session)
    return inserted


async def check_storage(session: Session) -> None:
    """Call after storing. Raises QuotaExceeded."""
    await check_quota(session, Quota.STORAGE_BYTES, QUERIES["count_storage"])


async def check_room(session: Session, source_id: str, *, digest: str = "", size_bytes: int = 0) -> None:
    """Whether an upload would fit, before anything of it is kept; what is there already takes no more room.

    Raises QuotaExceeded. The quotas are held in the order in which an upload is kept.
    """
    stored: dict[str, object] = {"digest": digest, "size_bytes": size_bytes}
    await check_quota(session, Quota.STORAGE_BYTES, QUERIES["count_storage_with"], stored)
    await check_quota(session, Quota.SOURCES, QUERIES["count_sources_with"], {"source_id": source_id})


async def insert_artifact_piece(session: Session, digest: str, ordinal: int, content: bytes) -> None:
    await session.execute(QUERIES["insert_artifact_piece"], {"digest": digest, "ordinal": ordinal, "content": content})


async def list_artifact_pieces(session: Session, digest: str, *, first: int, limit: int) -> list[bytes]:
    rows = await session.rows(QUERIES["list_artifact_pieces"], {"digest": digest, "first": first, "limit": limit})
    return [row["content"] for row in rows]


def _source(row: DictRow) -> Source:
    return Source(
        source_id=row["source_id"],
        kind=row["kind"],
        repository=row["repository"],
        remote_uri=row["remote_uri"] or "",
        revision=row["revision"],
        bundle_digest=row["bundle_digest"] or "",
        state=row["state"],
        commit=row["commit"],
        file_count=row.get("file_count", 0),
        chunk_count=row.get("chunk_count", 0),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        credential_username=row.get("credential_username") or "",
        credential_set_at=row.get("credential_set_at"),
    )
