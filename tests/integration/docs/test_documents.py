from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.docs.library import Library, open_library

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant


@pytest.fixture
def library(database: TestDatabase, tenant: TestTenant) -> Iterator[Library]:
    with open_library(database.dsn("docs_app"), tenant.grant()) as opened:
        yield opened


def hash_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def store(library: Library, content: str, document_id: object = None) -> object:
    """A new version, of a new document where none is given; returns the document."""
    document_id = (
        document_id or library.run("insert_document", source_id="x", task_id=uuid4(), title="T")[0]["document_id"]
    )
    library.run(
        "insert_document_version", document_id=document_id, title="T", content=content, content_hash=hash_of(content),
        claims=Jsonb([]), metadata=Jsonb({"engine": "extractive"}),
    )  # fmt: skip
    return document_id


def test_versions_are_numbered_and_the_newest_is_shown(library: Library) -> None:
    document_id = store(library, "one")
    store(library, "two", document_id)
    newest = library.run("get_document", document_id=document_id, version=0)[0]
    first = library.run("get_document", document_id=document_id, version=1)[0]
    assert (newest["version"], newest["content"], first["content"]) == (2, "two", "one")


def test_a_version_cannot_be_changed(library: Library) -> None:
    store(library, "one")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        library.connection.execute("UPDATE document_versions SET content = 'forged'")


def test_a_version_cannot_be_deleted(library: Library) -> None:
    store(library, "one")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        library.connection.execute("DELETE FROM document_versions")


def test_a_hash_that_is_not_the_contents_is_refused(library: Library) -> None:
    document_id = store(library, "one")
    with pytest.raises(psycopg.errors.CheckViolation):
        library.run(
            "insert_document_version", document_id=document_id, title="T", content="two", content_hash=hash_of("one"),
            claims=Jsonb([]), metadata=Jsonb({}),
        )  # fmt: skip


def test_a_version_is_published_only_under_its_hash(library: Library) -> None:
    document_id = store(library, "one")
    wrong = library.run("mark_document_published", document_id=document_id, version=1, content_hash=hash_of("other"))
    right = library.run("mark_document_published", document_id=document_id, version=1, content_hash=hash_of("one"))
    assert (wrong, right) == ([], [{"published_version": 1}])


def test_documents_are_listed_newest_first_in_pages(library: Library) -> None:
    first, second = store(library, "one"), store(library, "two")
    page = library.run("list_documents", before=None, limit=1)
    rest = library.run("list_documents", before=page[0]["document_id"], limit=1)
    assert [page[0]["document_id"], rest[0]["document_id"]] == [second, first]


def test_an_artifact_is_read_in_pieces(library: Library) -> None:
    digest = hash_of("x")
    assert library.run("insert_artifact", digest=digest, media_type="application/x-git-bundle", size_bytes=3)
    for ordinal, content in enumerate((b"ab", b"c")):
        library.run("insert_artifact_piece", digest=digest, ordinal=ordinal, content=content)
    assert library.run("insert_artifact", digest=digest, media_type="application/x-git-bundle", size_bytes=3) == []
    pieces = library.run("list_artifact_pieces", digest=digest, first=1, limit=10)
    assert pieces == [{"ordinal": 1, "content": b"c"}]


def test_a_piece_above_one_mebibyte_is_refused(library: Library) -> None:
    digest = hash_of("x")
    library.run("insert_artifact", digest=digest, media_type="application/x-git-bundle", size_bytes=3)
    with pytest.raises(psycopg.errors.CheckViolation):
        library.run("insert_artifact_piece", digest=digest, ordinal=0, content=b"x" * (1024**2 + 1))


def test_a_source_of_one_tenant_is_no_source_of_another(database: TestDatabase, tenant: TestTenant) -> None:
    source = {"source_id": "same", "kind": "remote", "repository": "r", "remote_uri": "https://a/b", "revision": "HEAD"}
    other = database.create_tenant("other")
    for proof in (tenant.grant(), other.grant()):
        with open_library(database.dsn("docs_app"), proof) as opened:
            assert len(opened.run("insert_source", **source, bundle_digest=None, commit="")) == 1
            assert len(opened.run("list_sources", after="", limit=10)) == 1


def test_a_row_for_another_tenant_is_refused(database: TestDatabase, tenant: TestTenant) -> None:
    other = database.create_tenant("other")
    with (
        open_library(database.dsn("docs_app"), tenant.grant()) as opened,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        opened.connection.execute(
            "INSERT INTO artifacts (tenant_id, digest, media_type, size_bytes) VALUES (%s, %s, 'x', 1)",
            (other.tenant_id, hash_of("x")),
        )
