"""What codegen does with each message: fetch the bundle, run the loop, keep the change with its evidence."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import grpc
from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.api.search.v1 import search_pb2 as search
from morningai.api.search.v1 import search_pb2_grpc
from morningai.bus import outbox
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.bus.work import Finish, Long, Work, request_cancel
from morningai.db.session import Database, Session
from morningai.errors import StepFailure, plain
from morningai.llm import Models
from morningai.rpc.channel import error_of, proof_metadata
from services.codegen import repository
from services.codegen.domain.changes import Change, ChangeRequest, Provenance, is_deliverable
from services.codegen.sandbox import Limits, Sandbox
from services.codegen.settings import Settings
from services.codegen.suite import Suite
from services.codegen.workflow import Budget, Tools, make_change
from services.codegen.workspace import WorkspaceLimits


@dataclass
class Workshop:
    """What changes are made with; the sandbox is tried once, at the first change."""

    database: Database
    docs: grpc.aio.Channel
    models: Models
    settings: Settings
    sandbox: Sandbox | None = None

    @asynccontextmanager
    async def tools(self, work: Work) -> AsyncIterator[Tools]:
        """With the model's calls charged to the tenant of the work.

        Raises StepFailure("model_unavailable") and StepFailure("sandbox_unavailable"): no code without both.
        """
        settings = self.settings
        async with self.models.model_for("change", work.database, work.proof) as model:
            if model is None:
                raise StepFailure(
                    "model_unavailable",
                    "No model is configured, and the extractive engine writes no code.",
                    remedy="Run `morningai model install` and start again, set OPENAI_BASE_URL, or give your tenant an "
                    "endpoint of its own with `morningai model endpoint set`.",
                )
            if self.sandbox is None:
                self.sandbox = await Sandbox.probe(settings.work_dir / "sandbox")
            yield Tools(
                suite=Suite(self.sandbox, Limits(wall_seconds=settings.codegen_test_seconds)),
                model=model,
                budget=Budget(
                    attempts=settings.codegen_attempts, tokens=settings.codegen_tokens, seconds=settings.codegen_seconds
                ),
                workspace_limits=WorkspaceLimits(),
            )


class Progress:
    """The loop's checkpoints as the lease's progress; a lost lease cancels the loop's task."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def checkpoint(self, progress: float, text: str) -> None:
        self._work.progress(progress, text)
        await asyncio.sleep(0)


def make_handlers(workshop: Workshop) -> Handlers:
    async def on_generate_change(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.GenerateChange)
        return await generate_change(work, message, workshop)

    return {events.GenerateChange: Long(on_generate_change), events.CancelWork: Short(on_cancel_work)}


async def on_cancel_work(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.CancelWork)
    await request_cancel(session, envelope.task_id, message.command_ids)


async def generate_change(work: Work, message: events.GenerateChange, workshop: Workshop) -> Finish:
    async with workshop.tools(work) as tools:
        change = await _make_change(work, message, workshop, tools)
    return _finish(work, message, change)


async def _make_change(work: Work, message: events.GenerateChange, workshop: Workshop, tools: Tools) -> Change:
    with tempfile.TemporaryDirectory(dir=workshop.settings.work_dir) as scratch:
        bundle = Path(scratch) / "snapshot.bundle"
        digest = await _fetch_bundle(workshop, work.proof, message.snapshot.name, bundle)
        request = ChangeRequest(message.instruction, message.snapshot.commit, digest)
        resumed_id = UUID(message.resumed_command_id) if message.resumed_command_id else None
        records = repository.StepRecords(workshop.database, work.proof, work.work_id, resumed_id=resumed_id)
        return await make_change(request, bundle, tools=tools, work=Progress(work), store=records)


def _finish(work: Work, message: events.GenerateChange, change: Change) -> Finish:
    provenance = _provenance(work, message.snapshot, change)
    handed_over = message.hand_over and is_deliverable(change)

    async def finish(session: Session) -> None:
        change_id = await repository.insert_change(
            session,
            change,
            task_id=work.task_id,
            instruction=message.instruction,
            source=message.snapshot.source,
            provenance=provenance,
        )
        generated = events.ChangeGenerated(
            change=f"changes/{change_id}",
            state=change.state,
            reason=plain(change.reason),
            engine=provenance.engine,
            model=provenance.model,
            patch_hash=change.evidence.patch_sha256 if handed_over else "",
        )
        if handed_over:
            patch = events.PatchVerified(change=generated.change, patch=change.patch)
            await outbox.emit(session, patch, task_id=work.task_id, causation_id=work.work_id)
        await outbox.emit(session, generated, task_id=work.task_id, causation_id=work.work_id)

    return finish


async def _fetch_bundle(workshop: Workshop, proof: str, snapshot: str, path: Path) -> str:
    """Write the snapshot's bundle to `path` and return its SHA-256."""
    checksum = hashlib.sha256()
    stream = search_pb2_grpc.SearchServiceStub(workshop.docs).GetBundle(
        search.GetBundleRequest(snapshot=snapshot),
        metadata=proof_metadata(proof),
        timeout=workshop.settings.docs_timeout_seconds,
    )
    try:
        with path.open("wb") as file:
            async for response in stream:
                checksum.update(response.piece)
                file.write(response.piece)
    except grpc.aio.AioRpcError as error:
        raise error_of(error, peer="docs") from error
    return checksum.hexdigest()


def _provenance(work: Work, snapshot: events.Snapshot, change: Change) -> Provenance:
    return Provenance(
        task=f"tasks/{work.task_id}",
        trace_id=telemetry.current_trace_id(),
        engine=change.model.engine,
        model=change.model.model,
        prompt_version=", ".join(change.model.prompts),
        repository=snapshot.repository,
        commit=snapshot.commit,
        prompt_tokens=change.model.prompt_tokens,
        completion_tokens=change.model.completion_tokens,
    )
