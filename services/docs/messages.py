"""Between docs' domain and protobuf."""

from __future__ import annotations

from morningai.api.answers.v1 import answers_pb2 as answers
from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.evidence.messages import claim_message
from morningai.rpc.time import timestamp
from services.docs.domain import Source, StoredDocument

KINDS = {"remote": sources.SOURCE_KIND_REMOTE, "upload": sources.SOURCE_KIND_UPLOAD}


def source_message(source: Source) -> sources.Source:
    return sources.Source(
        name=source.name,
        kind=KINDS[source.kind],
        remote_uri=source.remote_uri,
        repository=source.repository,
        commit=source.commit,
        file_count=source.file_count,
        chunk_count=source.chunk_count,
        create_time=timestamp(source.created_at),
        update_time=timestamp(source.updated_at),
        credential=_credential_message(source),
    )


def _credential_message(source: Source) -> sources.SourceCredential | None:
    if source.credential_set_at is None:
        return None
    return sources.SourceCredential(username=source.credential_username, set_time=timestamp(source.credential_set_at))


def document_message(document: StoredDocument) -> documents.Document:
    published = document.published_version == document.version
    return documents.Document(
        name=f"documents/{document.document_id}",
        title=document.title,
        source=f"sources/{document.source_id}",
        version=document.version,
        state=documents.DOCUMENT_STATE_PUBLISHED if published else documents.DOCUMENT_STATE_DRAFT,
        content=document.content,
        content_hash=document.content_hash,
        claims=[claim_message(claim) for claim in document.claims],
        provenance=_provenance(document.metadata),
        create_time=timestamp(document.created_at),
        update_time=timestamp(document.updated_at),
    )


def _provenance(metadata: dict[str, str]) -> answers.Provenance:
    return answers.Provenance(
        task=metadata["task"],
        trace_id=metadata["trace_id"],
        engine=metadata["engine"],
        model=metadata["model"],
        prompt_version=metadata["prompt_version"],
        repository=metadata["repository"],
        commit=metadata["commit"],
    )
