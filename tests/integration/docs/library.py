"""What the integration tests of docs share: a tenant's session as the service's own login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import psycopg
from psycopg.rows import DictRow, dict_row

import services.docs
from morningai.db.queries import Queries
from services.docs.reading.chunks import chunk_file
from services.docs.reading.facts import extract_facts
from services.docs.reading.files import language_of

QUERIES = Queries(Path(services.docs.__file__).with_name("queries.sql"))


@dataclass(frozen=True)
class Library:
    """One transaction of one tenant in the schema of docs."""

    connection: psycopg.Connection[DictRow]

    def run(self, name: str, **parameters: object) -> list[DictRow]:
        cursor = self.connection.execute(QUERIES[name], parameters)
        return cursor.fetchall() if cursor.description else []

    def index(self, source_id: str, commit: str, files: dict[str, str]) -> str:
        """Store a snapshot of these files the way the service does; returns its id."""
        remote = f"https://git.example/{source_id}"
        self.run(
            "insert_source", source_id=source_id, kind="remote", repository=remote, remote_uri=remote, revision="HEAD",
            bundle_digest=None, commit="",
        )  # fmt: skip
        snapshot = self.run("insert_snapshot", source_id=source_id, commit=commit)[0]["snapshot_id"]
        hashes = {path: sha1(text.encode(), usedforsecurity=False).hexdigest() for path, text in files.items()}
        unread = self.run(
            "list_unread_files", source_id=source_id, paths=list(hashes), blob_hashes=list(hashes.values())
        )
        self._read(source_id, [(row["path"], row["blob_hash"], files[row["path"]]) for row in unread])
        self.run(
            "insert_files", snapshot_id=snapshot, source_id=source_id, paths=list(files),
            blob_hashes=list(hashes.values()), sizes_bytes=[len(text) for text in files.values()],
            languages=[language_of(path) for path in files],
        )  # fmt: skip
        self.run("mark_snapshot_ready", snapshot_id=snapshot)
        return str(snapshot)

    def _read(self, source_id: str, files: list[tuple[str, str, str]]) -> None:
        self.run(
            "insert_blobs", source_id=source_id, blob_hashes=[blob for _, blob, _ in files],
            contents=[text for _, _, text in files],
        )  # fmt: skip
        chunks = [(blob, n, c) for path, blob, text in files for n, c in enumerate(chunk_file(path, text))]
        self.run(
            "insert_chunks", source_id=source_id, paths=[c.path for _, _, c in chunks],
            blob_hashes=[blob for blob, _, _ in chunks], ordinals=[n for _, n, _ in chunks],
            symbols=[c.symbol for _, _, c in chunks], start_lines=[c.start_line for _, _, c in chunks],
            end_lines=[c.end_line for _, _, c in chunks], texts=[c.text for _, _, c in chunks],
        )  # fmt: skip
        facts = [(path, blob, n, f) for path, blob, text in files for n, f in enumerate(extract_facts(path, text))]
        self.run(
            "insert_facts", source_id=source_id, paths=[path for path, _, _, _ in facts],
            blob_hashes=[blob for _, blob, _, _ in facts], ordinals=[n for _, _, n, _ in facts],
            kinds=[f.kind for *_, f in facts], names=[f.name for *_, f in facts],
            start_lines=[f.start_line for *_, f in facts], end_lines=[f.end_line for *_, f in facts],
            quotes=[f.quote for *_, f in facts],
        )  # fmt: skip

    def search(self, snapshot_id: str, query: str, limit: int = 10) -> list[DictRow]:
        return self.run("search_chunks", snapshot_id=snapshot_id, query=query, limit=limit)


@contextmanager
def open_library(dsn: str, proof: str | None) -> Iterator[Library]:
    """As docs_app; without a proof the session is nobody's."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        if proof is not None:
            connection.execute("SELECT kernel.open_session(%s)", (proof,))
        yield Library(connection)
