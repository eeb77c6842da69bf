"""The pieces of long work: look where a source's branch is, index a commit, and generate a document about it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from hashlib import sha256
from uuid import UUID

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus import outbox
from morningai.bus.work import Finish, Work
from morningai.db.session import Database, Session
from morningai.errors import NotFound, Outage, Permanent, TaskEnded, Unavailable, plain
from morningai.evidence.documents import EXTRACTIVE, DocumentMetadata, compose_document
from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Answer, Fact, Passage
from morningai.evidence.model_answers import answer_with_model
from morningai.llm import Models, PromptTemplate
from services.docs import document_rows, index_rows, repository
from services.docs.domain import Source
from services.docs.nodes import read_new_files
from services.docs.reading.files import is_worth_reading
from services.docs.sources import SourceStores

SEARCHED_PASSAGES = 80
OVERVIEW_PASSAGES = 400
LONGEST_TITLE = 120
PUBLISHING_SCOPE = "tasks.write"
CREATING_SCOPE = "tasks.write"


@dataclass(frozen=True)
class Writer:
    """What generation needs: the models, and the prompt for them."""

    models: Models
    template: PromptTemplate


async def check_source(work: Work, message: events.CheckSource, *, database: Database, stores: SourceStores) -> Finish:
    """Look where the branch is now; what keeps from it is an answer, too."""
    checked = events.SourceChecked()
    try:
        async with database.tenant_session(work.proof) as session:
            source = await repository.get_source(session, message.source.removeprefix("sources/"))
            tenant_id = session.tenant_id
        work.progress(0.1, f"asking {source.repository}")
        checked.commit = await stores.newest_commit(database, work.proof, tenant_id, source, branch=message.branch)
    except (Permanent, Unavailable) as error:
        if isinstance(error, (Outage, TaskEnded)):
            raise
        checked.failure.MergeFrom(
            tasks.Failure(reason=error.reason.lower(), message=plain(error.message), remedy=plain(error.remedy))
        )
        checked.source_is_gone = isinstance(error, NotFound)

    async def finish(session: Session) -> None:
        # Of whoever may not ask for tasks any more no message is taken: the schedule's own timer finds that out.
        if await repository.principal_may(session, CREATING_SCOPE):
            await _reply(session, work, checked)

    return finish


async def index_source(work: Work, message: events.IndexSource, *, database: Database, stores: SourceStores) -> Finish:
    """Fetch the source to a commit, else to its newest, and read what changed."""
    async with database.tenant_session(work.proof) as session:
        source = await repository.get_source(session, message.source.removeprefix("sources/"))
        known = await _snapshot_of_upload(session, source, message.commit)
        tenant_id = session.tenant_id
    if known:
        return _finish_index(work, source, source.commit, known)
    work.progress(0.1, f"fetching {source.repository}")
    async with stores.store_of(tenant_id, source.source_id) as store:
        commit = await stores.fetch(store, database, work.proof, source, commit=message.commit)
        files = [f for f in await store.list_files(commit) if is_worth_reading(f.path, f.size_bytes)]
        work.progress(0.3, f"reading {len(files)} files at {commit[:10]}")
        await read_new_files(
            store,
            database,
            work.proof,
            source.source_id,
            files,
            lambda part: work.progress(0.3 + 0.6 * part, f"reading {len(files)} files at {commit[:10]}"),
        )
    async with database.tenant_session(work.proof) as session:
        snapshot_id = await index_rows.insert_snapshot(session, source.source_id, commit)
        await index_rows.insert_files(session, snapshot_id, source.source_id, files)
        await index_rows.mark_snapshot_ready(session, snapshot_id)
    return _finish_index(work, source, commit, snapshot_id)


async def _snapshot_of_upload(session: Session, source: Source, commit: str) -> UUID | None:
    """An uploaded source that was indexed is unchanged until it is uploaded again."""
    if source.kind != "upload" or source.state != "indexed" or commit not in ("", source.commit):
        return None
    return await index_rows.insert_snapshot(session, source.source_id, source.commit)


def _finish_index(work: Work, source: Source, commit: str, snapshot_id: UUID) -> Finish:
    async def finish(session: Session) -> None:
        if source.kind == "remote" or commit == source.commit:
            await repository.mark_source_indexed(session, source, commit)
        snapshot = await index_rows.get_snapshot(session, snapshot_id)
        indexed = events.SourceIndexed(
            snapshot=events.Snapshot(
                name=snapshot.name, source=source.name, repository=source.repository, commit=commit
            ),
            file_count=snapshot.file_count,
            chunk_count=snapshot.chunk_count,
        )
        await _reply(session, work, indexed)

    return finish


async def generate_document(
    work: Work, instruction: str, snapshot: events.Snapshot, *, database: Database, writer: Writer
) -> Finish:
    """Answer the instruction from the snapshot and compose the document, checked claim by claim."""
    snapshot_id = UUID(snapshot.name.removeprefix("snapshots/"))
    async with database.tenant_session(work.proof) as session:
        passages = await read_passages(session, snapshot_id, instruction)
        facts = await index_rows.list_facts(session, snapshot_id)
    work.progress(0.3, f"{len(passages)} passages found")
    answer, metadata = await _write(work, instruction, snapshot, passages, facts, writer)
    content = compose_document(instruction, answer, metadata)
    content_hash = sha256(content.encode()).hexdigest()

    async def finish(session: Session) -> None:
        document_id, version = await document_rows.insert_document(
            session,
            source_id=snapshot.source.removeprefix("sources/"),
            task_id=work.task_id,
            title=_title(instruction),
            content=content,
            content_hash=content_hash,
            claims=answer.claims,
            metadata=asdict(metadata),
        )
        generated = events.DocumentGenerated(
            document=f"documents/{document_id}",
            version=version,
            content_hash=content_hash,
            engine=metadata.engine,
            model=metadata.model,
        )
        await _reply(session, work, generated)

    return finish


async def read_passages(session: Session, snapshot_id: UUID, question: str) -> list[Passage]:
    """What matches the question, then the heads of the files, each once."""
    found = await index_rows.search_chunks(session, snapshot_id, question, limit=SEARCHED_PASSAGES)
    heads = await index_rows.list_first_chunks(session, snapshot_id, per_file=4, limit=OVERVIEW_PASSAGES)
    places = {(passage.path, passage.start_line) for passage in found}
    return found + [head for head in heads if (head.path, head.start_line) not in places]


async def _write(
    work: Work,
    instruction: str,
    snapshot: events.Snapshot,
    passages: list[Passage],
    facts: list[Fact],
    writer: Writer,
) -> tuple[Answer, DocumentMetadata]:
    async with writer.models.model_for("document", work.database, work.proof) as client:
        if client is None:
            answer = await asyncio.to_thread(answer_extractively, instruction, passages, facts)
            engine, model, prompt = EXTRACTIVE, "", ""
        else:
            work.progress(0.4, "asking the model")
            written = await answer_with_model(instruction, passages, facts, model=client, template=writer.template)
            answer, engine, model, prompt = written.answer, written.engine or EXTRACTIVE, written.model, written.prompt
    return answer, DocumentMetadata(
        task=f"tasks/{work.task_id}",
        trace_id=telemetry.current_trace_id(),
        engine=engine,
        model=model,
        prompt_version=prompt,
        repository=snapshot.repository,
        commit=snapshot.commit,
    )


async def publish_document(session: Session, message: events.PublishDocument) -> events.DocumentPublished:
    """Raises NotFound when the version is not there under its hash, StepFailure when who asked for it no longer may."""
    await repository.check_principal(session, PUBLISHING_SCOPE, doing="publish this document")
    document_id = UUID(message.document.removeprefix("documents/"))
    published = await document_rows.mark_document_published(
        session, document_id, version=message.version, content_hash=message.content_hash
    )
    if not published:
        raise NotFound("document version", f"{message.document}@{message.version}")
    return events.DocumentPublished(
        document=message.document, version=message.version, content_hash=message.content_hash
    )


def _title(instruction: str) -> str:
    line = " ".join(instruction.split())
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"


async def _reply(session: Session, work: Work, message: Message) -> None:
    await outbox.emit(session, message, task_id=work.task_id, causation_id=work.work_id)
