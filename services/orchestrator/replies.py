"""Reads the generators' replies into step results."""

from __future__ import annotations

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from services.orchestrator.domain import USABLE_CHANGES, StepResult, StepState

OK = StepState.SUCCEEDED.value
FAILED = StepState.FAILED.value


def result_of(message: Message) -> StepResult:
    """The step result of a reply; ValueError for a message that is no reply."""
    match message:
        case events.SourceIndexed():
            return _indexed(message)
        case events.AnswerGenerated():
            found = f"{message.claim_count} claims" if message.found else "not found in the sources"
            return StepResult(
                state=OK, result=message.answer, summary=found, engine=message.engine, model=message.model
            )
        case events.FaqGenerated():
            summary = f"{message.item_count} items"
            return StepResult(state=OK, result=message.faq, summary=summary, engine=message.engine, model=message.model)
        case events.DocumentGenerated():
            return _document(message)
        case events.DocumentPublished():
            summary = f"published version {message.version}"
            return StepResult(state=OK, result=message.document, summary=summary)
        case events.ChangeDelivered():
            summary = f"pushed {message.branch} at {message.commit[:10]}"
            return StepResult(state=OK, result=message.change, summary=summary, commit=message.commit)
        case events.ChangeGenerated():
            return _change(message)
        case events.StepFailed():
            failure = message.failure
            return StepResult(state=FAILED, reason=failure.reason, message=failure.message, remedy=failure.remedy)
    raise ValueError(f"{message.DESCRIPTOR.name} is no reply")


def _indexed(message: events.SourceIndexed) -> StepResult:
    snapshot = message.snapshot
    return StepResult(
        state=OK,
        result=snapshot.name,
        summary=f"{message.file_count} files, {message.chunk_count} chunks at {snapshot.commit[:10]}",
        snapshot={
            "name": snapshot.name,
            "source": snapshot.source,
            "repository": snapshot.repository,
            "commit": snapshot.commit,
        },
    )


def _document(message: events.DocumentGenerated) -> StepResult:
    return StepResult(
        state=OK,
        result=message.document,
        summary=f"version {message.version}",
        engine=message.engine,
        model=message.model,
        version=message.version,
        content_hash=message.content_hash,
    )


def _change(message: events.ChangeGenerated) -> StepResult:
    result = StepResult(
        state=OK,
        result=message.change,
        summary=message.state,
        engine=message.engine,
        model=message.model,
        content_hash=message.patch_hash,
    )
    if message.state not in USABLE_CHANGES:
        result |= StepResult(state=FAILED, reason=message.state, message=message.reason)
    return result
