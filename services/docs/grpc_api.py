"""SourceService, DocumentService, and SearchService for the other services."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.documents.v1 import documents_pb2_grpc
from morningai.api.search.v1 import search_pb2 as search
from morningai.api.search.v1 import search_pb2_grpc
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.db.session import Database
from morningai.errors import AlreadyExists, InvalidInput
from morningai.evidence.messages import fact_message, passage_message
from morningai.rpc.call import CURRENT_CALL, Context, check_scope, rpc_session
from morningai.rpc.channel import LARGEST_REPLY_BYTES
from morningai.rpc.names import resource_id
from morningai.rpc.pages import page_limit, page_of, read_token, write_token
from morningai.secrets.vault import Vault
from services.docs import document_rows, index_rows, repository, uploads
from services.docs.credentials import clear_credential, set_credential
from services.docs.domain import Source, diff_of, parse_credential, parse_source_id
from services.docs.git.bundle import import_bundle
from services.docs.messages import document_message, source_message
from services.docs.settings import Settings
from services.docs.sources import SourceStores

LARGEST_PAGE = 200
MOST_PASSAGES = 200
MOST_OVERVIEW_PASSAGES = 5_000
MOST_OVERVIEW_FACTS = 50_000
# An overview is one message with two lists.
LARGEST_LIST_BYTES = LARGEST_REPLY_BYTES // 4
HEADS_PER_FILE = 4
LONGEST_REPOSITORY_NAME = 500


class SourceServicer(sources_pb2_grpc.SourceServiceServicer):
    def __init__(self, database: Database, stores: SourceStores, vault: Vault, settings: Settings) -> None:
        self._database = database
        self._stores = stores
        self._vault = vault
        self._settings = settings

    async def CreateSource(self, request: sources.CreateSourceRequest, context: Context) -> sources.Source:
        await check_scope(self._database)
        source_id = parse_source_id(request.source_id)
        remote_uri = request.source.remote_uri.strip()
        await self._stores.check_remote(remote_uri)
        async with rpc_session(self._database) as session:
            source = await repository.insert_source(
                session, source_id=source_id, repository=remote_uri, remote_uri=remote_uri
            )
            if source is None:
                source = _same_remote(await repository.get_source(session, source_id), remote_uri)
        return source_message(source)

    async def UploadSource(
        self, request_iterator: AsyncIterator[sources.UploadSourceRequest], context: Context
    ) -> sources.Source:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "source":
            raise InvalidInput("source", "does not come first.", remedy="Send the source, then its pieces.")
        source_id = parse_source_id(first.source.source_id)
        name = (first.source.source.repository or source_id)[:LONGEST_REPOSITORY_NAME]
        async with rpc_session(self._database) as session:
            tenant_id = session.tenant_id
            await repository.check_room(session, source_id)
        pieces = (request.piece async for request in request_iterator)
        async with uploads.received(pieces, self._stores.folder, most_bytes=self._settings.docs_upload_bytes) as upload:
            async with rpc_session(self._database) as session:
                await repository.check_room(session, source_id, digest=upload.digest, size_bytes=upload.size_bytes)
            async with self._stores.store_for_upload(tenant_id, source_id) as store:
                commit = await import_bundle(upload.path, store)
                async with rpc_session(self._database) as session:
                    source = await uploads.keep_upload(
                        session, upload, source_id=source_id, repository_name=name, commit=commit
                    )
        return source_message(source)

    async def GetSource(self, request: sources.GetSourceRequest, context: Context) -> sources.Source:
        async with rpc_session(self._database) as session:
            return source_message(await repository.get_source(session, _source_id(request.name)))

    async def ListSources(self, request: sources.ListSourcesRequest, context: Context) -> sources.ListSourcesResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        after = read_token(request.page_token, "sources", parse_source_id) or ""
        async with rpc_session(self._database) as session:
            found = await repository.list_sources(session, after=after, limit=limit + 1)
        page = page_of(map(source_message, found), limit)
        token = write_token("sources", found[len(page) - 1].source_id) if len(page) < len(found) else ""
        return sources.ListSourcesResponse(sources=page, next_page_token=token)

    async def SetSourceCredential(
        self, request: sources.SetSourceCredentialRequest, context: Context
    ) -> sources.Source:
        credential = parse_credential(request.username, request.token)
        async with rpc_session(self._database) as session:
            return source_message(await set_credential(session, self._vault, _source_id(request.name), credential))

    async def ClearSourceCredential(
        self, request: sources.ClearSourceCredentialRequest, context: Context
    ) -> sources.Source:
        async with rpc_session(self._database) as session:
            return source_message(await clear_credential(session, _source_id(request.name)))


class DocumentServicer(documents_pb2_grpc.DocumentServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetDocument(self, request: documents.GetDocumentRequest, context: Context) -> documents.Document:
        document_id = resource_id("document", request.name)
        async with rpc_session(self._database) as session:
            return document_message(await document_rows.get_document(session, document_id, version=request.version))

    async def GetDocumentDiff(
        self, request: documents.GetDocumentDiffRequest, context: Context
    ) -> documents.GetDocumentDiffResponse:
        document_id = resource_id("document", request.name)
        async with rpc_session(self._database) as session:
            new = await document_rows.get_document(session, document_id, version=request.version)
            base = new.published_version
            old = await document_rows.get_document(session, document_id, version=base) if base else None
        old_content, old_label = (old.content, old.label) if old else ("", "nothing")
        diff = await asyncio.to_thread(diff_of, old_content, new.content, old_label=old_label, new_label=new.label)
        return documents.GetDocumentDiffResponse(base_version=base or 0, version=new.version, diff=diff)

    async def ListDocuments(
        self, request: documents.ListDocumentsRequest, context: Context
    ) -> documents.ListDocumentsResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        before = read_token(request.page_token, "documents", UUID)
        async with rpc_session(self._database) as session:
            found = await document_rows.list_documents(session, before=before, limit=limit + 1)
        page = page_of(map(document_message, found), limit)
        token = write_token("documents", found[len(page) - 1].document_id) if len(page) < len(found) else ""
        return documents.ListDocumentsResponse(documents=page, next_page_token=token)


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, database: Database, stores: SourceStores) -> None:
        self._database = database
        self._stores = stores

    async def Search(self, request: search.SearchRequest, context: Context) -> search.SearchResponse:
        limit = page_limit(request.limit, most=MOST_PASSAGES, default=MOST_PASSAGES, field="limit")
        async with rpc_session(self._database) as session:
            passages = await index_rows.search_chunks(
                session, resource_id("snapshot", request.snapshot), request.query, limit=limit
            )
        found = page_of(map(passage_message, passages), limit, most_bytes=LARGEST_LIST_BYTES)
        return search.SearchResponse(passages=found)

    async def GetOverview(self, request: search.GetOverviewRequest, context: Context) -> search.GetOverviewResponse:
        snapshot_id = resource_id("snapshot", request.snapshot)
        most = MOST_OVERVIEW_PASSAGES
        limit = page_limit(request.passage_limit, most=most, default=most, field="passage_limit")
        async with rpc_session(self._database) as session:
            facts = await index_rows.list_facts(session, snapshot_id)
            passages = await index_rows.list_first_chunks(session, snapshot_id, per_file=HEADS_PER_FILE, limit=limit)
        return search.GetOverviewResponse(
            facts=page_of(map(fact_message, facts), MOST_OVERVIEW_FACTS, most_bytes=LARGEST_LIST_BYTES),
            passages=page_of(map(passage_message, passages), limit, most_bytes=LARGEST_LIST_BYTES),
        )

    async def GetBundle(
        self, request: search.GetBundleRequest, context: Context
    ) -> AsyncIterator[search.GetBundleResponse]:
        proof = CURRENT_CALL.get().proof
        async with rpc_session(self._database) as session:
            snapshot = await index_rows.get_snapshot(session, resource_id("snapshot", request.snapshot))
            source = await repository.get_source(session, snapshot.source_id)
        with tempfile.TemporaryDirectory(dir=self._stores.folder) as scratch:
            path = Path(scratch) / "snapshot.bundle"
            await self._stores.make_bundle(self._database, proof, source, snapshot.commit, path)
            with path.open("rb") as file:
                while piece := file.read(uploads.PIECE_BYTES):
                    yield search.GetBundleResponse(piece=piece)


def _source_id(name: str) -> str:
    return name.removeprefix("sources/")


def _same_remote(source: Source, remote_uri: str) -> Source:
    if source.remote_uri != remote_uri:
        raise AlreadyExists("source", source.name, remedy="Choose another name.")
    return source
