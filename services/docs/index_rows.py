"""Rows of what was read: snapshots, files, chunks, facts, and the search over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args
from uuid import UUID

from psycopg.rows import DictRow

from morningai.db.session import Session
from morningai.errors import NotFound
from morningai.evidence.model import Fact, FactKind, Passage
from services.docs.domain import Chunk, FileEntry, FileFact, Snapshot
from services.docs.reading.files import language_of
from services.docs.repository import QUERIES, check_storage

EVIDENCE_KINDS = frozenset(get_args(FactKind))


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One file that was read: its text in chunks, and what it declares."""

    path: str
    blob_hash: str
    content: str
    chunks: tuple[Chunk, ...]
    facts: tuple[FileFact, ...]


async def insert_snapshot(session: Session, source_id: str, commit: str) -> UUID:
    """The snapshot of a commit, new or known."""
    row = await session.row(QUERIES["insert_snapshot"], {"source_id": source_id, "commit": commit})
    assert row is not None
    return UUID(str(row["snapshot_id"]))


async def get_snapshot(session: Session, snapshot_id: UUID) -> Snapshot:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_snapshot"], {"snapshot_id": snapshot_id})
    if row is None:
        raise NotFound("snapshot", f"snapshots/{snapshot_id}")
    return _snapshot(row)


async def mark_snapshot_ready(session: Session, snapshot_id: UUID) -> None:
    """Count what it holds; a snapshot that was ready stays as it is."""
    await session.execute(QUERIES["mark_snapshot_ready"], {"snapshot_id": snapshot_id})


async def list_unread_files(session: Session, source_id: str, files: Sequence[FileEntry]) -> list[tuple[str, str]]:
    """(path, blob hash) of the files of which nothing was read yet."""
    rows = await session.rows(
        QUERIES["list_unread_files"],
        {
            "source_id": source_id,
            "paths": [file.path for file in files],
            "blob_hashes": [file.blob_hash for file in files],
        },
    )
    return [(row["path"], row["blob_hash"]) for row in rows]


async def insert_read_files(session: Session, source_id: str, files: Sequence[ReadFile]) -> None:
    """Raises QuotaExceeded."""
    blobs = {"blob_hashes": [file.blob_hash for file in files], "contents": [file.content for file in files]}
    await session.execute(QUERIES["insert_blobs"], {"source_id": source_id, **blobs})
    await check_storage(session)
    chunks = [(file, ordinal, chunk) for file in files for ordinal, chunk in enumerate(file.chunks)]
    await session.execute(
        QUERIES["insert_chunks"],
        {
            "source_id": source_id,
            "paths": [file.path for file, _, _ in chunks],
            "blob_hashes": [file.blob_hash for file, _, _ in chunks],
            "ordinals": [ordinal for _, ordinal, _ in chunks],
            "symbols": [chunk.symbol for _, _, chunk in chunks],
            "start_lines": [chunk.start_line for _, _, chunk in chunks],
            "end_lines": [chunk.end_line for _, _, chunk in chunks],
            "texts": [chunk.text for _, _, chunk in chunks],
        },
    )
    facts = [(file, ordinal, fact) for file in files for ordinal, fact in enumerate(file.facts)]
    await session.execute(
        QUERIES["insert_facts"],
        {
            "source_id": source_id,
            "paths": [file.path for file, _, _ in facts],
            "blob_hashes": [file.blob_hash for file, _, _ in facts],
            "ordinals": [ordinal for _, ordinal, _ in facts],
            "kinds": [fact.kind for _, _, fact in facts],
            "names": [fact.name for _, _, fact in facts],
            "start_lines": [fact.start_line for _, _, fact in facts],
            "end_lines": [fact.end_line for _, _, fact in facts],
            "quotes": [fact.quote for _, _, fact in facts],
        },
    )


async def insert_files(session: Session, snapshot_id: UUID, source_id: str, files: Sequence[FileEntry]) -> None:
    await session.execute(
        QUERIES["insert_files"],
        {
            "snapshot_id": snapshot_id,
            "source_id": source_id,
            "paths": [file.path for file in files],
            "blob_hashes": [file.blob_hash for file in files],
            "sizes_bytes": [file.size_bytes for file in files],
            "languages": [language_of(file.path) for file in files],
        },
    )


async def search_chunks(session: Session, snapshot_id: UUID, query: str, *, limit: int) -> list[Passage]:
    rows = await session.rows(QUERIES["search_chunks"], {"snapshot_id": snapshot_id, "query": query, "limit": limit})
    return [_passage(row) for row in rows]


async def list_first_chunks(session: Session, snapshot_id: UUID, *, per_file: int, limit: int) -> list[Passage]:
    """All of the root's README, architecture page and the like, then the heads of the other files, prose first."""
    rows = await session.rows(
        QUERIES["list_first_chunks"], {"snapshot_id": snapshot_id, "per_file": per_file, "limit": limit}
    )
    return [_passage(row) for row in rows]


async def list_facts(session: Session, snapshot_id: UUID) -> list[Fact]:
    rows = await session.rows(QUERIES["list_facts"], {"snapshot_id": snapshot_id})
    return [_fact(row) for row in rows if row["kind"] in EVIDENCE_KINDS]


def _snapshot(row: DictRow) -> Snapshot:
    return Snapshot(
        snapshot_id=row["snapshot_id"],
        source_id=row["source_id"],
        repository=row["repository"],
        commit=row["commit"],
        ready=row["state"] == "ready",
        file_count=row["file_count"],
        chunk_count=row["chunk_count"],
    )


def _passage(row: Mapping[str, object]) -> Passage:
    return Passage(
        path=str(row["path"]),
        symbol=str(row["symbol"]),
        commit=str(row["commit"]),
        blob_hash=str(row["blob_hash"]),
        start_line=int(str(row["start_line"])),
        end_line=int(str(row["end_line"])),
        text=str(row["text"]),
        score=float(str(row.get("score", 0.0))),
    )


def _fact(row: DictRow) -> Fact:
    return Fact(
        kind=cast(FactKind, row["kind"]),
        name=row["name"],
        path=row["path"],
        commit=row["commit"],
        blob_hash=row["blob_hash"],
        start_line=row["start_line"],
        end_line=row["end_line"],
        quote=row["quote"],
    )
