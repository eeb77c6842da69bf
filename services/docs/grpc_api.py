"""SourceService, DocumentService, and SearchService for the other services."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.documents.v1 import documents_pb2_grpc
from morningai.api.search.v1 import search_pb2 as search
from morningai.api.search.v1 import search_pb2_grpc
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.db.session import Database
from morningai.errors import AlreadyExists, InvalidInput, Permanent
from morningai.evidence.messages import fact_message, passage_message
from morningai.rpc.call import CURRENT_CALL, Context, rpc_session
from morningai.rpc.names import resource_id
from services.docs import document_rows, index_rows, repository, uploads
from services.docs.domain import Source, parse_source_id
from services.docs.git.bundle import import_bundle
from services.docs.messages import document_message, source_message
from services.docs.settings import Settings
from services.docs.sources import SourceStores

DEFAULT_PAGE = 50
LARGEST_PAGE = 200
MOST_PASSAGES = 200
HEADS_PER_FILE = 4
LONGEST_REPOSITORY_NAME = 500


class SourceServicer(sources_pb2_grpc.SourceServiceServicer):
    def __init__(self, database: Database, stores: SourceStores, settings: Settings) -> None:
        self._database = database
        self._stores = stores
        self._settings = settings

    async def CreateSource(self, request: sources.CreateSourceRequest, context: Context) -> sources.Source:
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
        try:
            return await self._upload(request_iterator)
        except Permanent:
            await _read_on(request_iterator, most_bytes=self._settings.docs_upload_bytes)
            raise

    async def _upload(self, request_iterator: AsyncIterator[sources.UploadSourceRequest]) -> sources.Source:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "source":
            raise InvalidInput("source", "does not come first.", remedy="Send the source, then its pieces.")
        source_id = parse_source_id(first.source.source_id)
        name = (first.source.source.repository or source_id)[:LONGEST_REPOSITORY_NAME]
        async with rpc_session(self._database) as session:
            tenant_id = session.tenant_id
        pieces = (request.piece async for request in request_iterator)
        async with uploads.received(pieces, self._stores.folder, most_bytes=self._settings.docs_upload_bytes) as upload:
            async with self._stores.store_of(tenant_id, source_id) as store:
                commit = await import_bundle(upload.path, store)
            async with rpc_session(self._database) as session:
                source = await uploads.keep_upload(
                    session, upload, source_id=source_id, repository_name=name, commit=commit
                )
        return source_message(source)

    async def GetSource(self, request: sources.GetSourceRequest, context: Context) -> sources.Source:
        async with rpc_session(self._database) as session:
            return source_message(await repository.get_source(session, request.name.removeprefix("sources/")))

    async def ListSources(self, request: sources.ListSourcesRequest, context: Context) -> sources.ListSourcesResponse:
        limit = page_limit(request.page_size)
        async with rpc_session(self._database) as session:
            found = await repository.list_sources(session, after=request.page_token, limit=limit + 1)
        token = found[limit - 1].source_id if len(found) > limit else ""
        return sources.ListSourcesResponse(
            sources=[source_message(source) for source in found[:limit]], next_page_token=token
        )


class DocumentServicer(documents_pb2_grpc.DocumentServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetDocument(self, request: documents.GetDocumentRequest, context: Context) -> documents.Document:
        document_id = resource_id("document", request.name)
        async with rpc_session(self._database) as session:
            return document_message(await document_rows.get_document(session, document_id, version=request.version))

    async def ListDocuments(
        self, request: documents.ListDocumentsRequest, context: Context
    ) -> documents.ListDocumentsResponse:
        limit = page_limit(request.page_size)
        before = resource_id("page_token", request.page_token) if request.page_token else None
        async with rpc_session(self._database) as session:
            found = await document_rows.list_documents(session, before=before, limit=limit + 1)
        token = str(found[limit - 1].document_id) if len(found) > limit else ""
        return documents.ListDocumentsResponse(
            documents=[document_message(document) for document in found[:limit]], next_page_token=token
        )


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, database: Database, stores: SourceStores) -> None:
        self._database = database
        self._stores = stores

    async def Search(self, request: search.SearchRequest, context: Context) -> search.SearchResponse:
        limit = min(request.limit or MOST_PASSAGES, MOST_PASSAGES)
        async with rpc_session(self._database) as session:
            passages = await index_rows.search_chunks(
                session, resource_id("snapshot", request.snapshot), request.query, limit=limit
            )
        return search.SearchResponse(passages=[passage_message(passage) for passage in passages])

    async def GetOverview(self, request: search.GetOverviewRequest, context: Context) -> search.GetOverviewResponse:
        snapshot_id = resource_id("snapshot", request.snapshot)
        async with rpc_session(self._database) as session:
            facts = await index_rows.list_facts(session, snapshot_id)
            passages = await index_rows.list_first_chunks(
                session, snapshot_id, per_file=HEADS_PER_FILE, limit=request.passage_limit
            )
        return search.GetOverviewResponse(
            facts=[fact_message(fact) for fact in facts],
            passages=[passage_message(passage) for passage in passages],
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


async def _read_on(requests: AsyncIterator[sources.UploadSourceRequest], *, most_bytes: int) -> None:
    """A caller that still writes may miss the refusal: grpc.aio then reports the failed write (grpc/grpc#36066)."""
    async for request in requests:
        most_bytes -= len(request.piece)
        if most_bytes < 0:
            return


def page_limit(page_size: int) -> int:
    if page_size < 0:
        raise InvalidInput("page_size", "is negative.", remedy=f"Use 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}.")
    return min(page_size or DEFAULT_PAGE, LARGEST_PAGE)


def _same_remote(source: Source, remote_uri: str) -> Source:
    if source.remote_uri != remote_uri:
        raise AlreadyExists("source", source.name, remedy="Choose another name.")
    return source
