"""The two pieces of long work: answer a question, and generate an FAQ; each claim's quote was found by the program."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.work import Finish, Work
from morningai.db.session import Session
from morningai.errors import StepFailure
from morningai.evidence.documents import EXTRACTIVE
from morningai.evidence.extractive import answer_extractively
from morningai.evidence.faq import mine_faq
from morningai.evidence.markdown import render_answer, render_faq
from morningai.evidence.model_answers import ModelAnswer, answer_with_model
from morningai.evidence.model_faq import ModelFaq, reword_faq
from morningai.llm import Models, PromptTemplate
from services.faqgen import repository
from services.faqgen.domain import Provenance, checked_instruction, faq_items_wanted
from services.faqgen.nodes import Library, Reading

if TYPE_CHECKING:
    from morningai.llm import ModelClient


@dataclass(frozen=True)
class Writer:
    """What generation needs: docs to read from, and the models with their prompts."""

    library: Library
    models: Models
    answer_template: PromptTemplate
    faq_template: PromptTemplate


async def generate_answer(work: Work, message: events.GenerateAnswer, writer: Writer) -> Finish:
    question = checked_instruction(message.instruction)
    work.progress(0.1, "searching")
    reading = await writer.library.read(work.proof, message.snapshot.name, question)
    work.progress(0.4, f"{len(reading.passages)} passages found")
    async with writer.models.model_for("answer", work.database, work.proof) as model:
        written = await _answer(question, reading, model, writer.answer_template)
    provenance = _provenance(work, message.snapshot, written)
    markdown = render_answer(question, written.answer, mark_extracted=provenance.engine != EXTRACTIVE)

    async def finish(session: Session) -> None:
        answer_id = await repository.insert_answer(
            session,
            task_id=work.task_id,
            question=question,
            answer=written.answer,
            markdown=markdown,
            provenance=provenance,
        )
        generated = events.AnswerGenerated(
            answer=f"answers/{answer_id}",
            found=written.answer.found,
            claim_count=len(written.answer.claims),
            engine=provenance.engine,
            model=provenance.model,
        )
        await _reply(session, work, generated)

    return finish


async def generate_faq(work: Work, message: events.GenerateFaq, writer: Writer) -> Finish:
    instruction = checked_instruction(message.instruction)
    wanted = faq_items_wanted(message.item_count)
    work.progress(0.1, "reading the overview")
    reading = await writer.library.read(work.proof, message.snapshot.name, instruction)
    work.progress(0.4, f"{len(reading.passages)} passages read")
    async with writer.models.model_for("faq", work.database, work.proof) as model:
        written = await _faq(instruction, reading, wanted, model, writer.faq_template)
    if not written.items:
        raise StepFailure(
            "no_faq_items",
            "The source has nothing that a question could be answered from.",
            remedy="Add a README, documentation or docstrings to it.",
        )
    provenance = _provenance(work, message.snapshot, written)
    markdown = render_faq(instruction, written.items, mark_extracted=provenance.engine != EXTRACTIVE)

    async def finish(session: Session) -> None:
        faq_id = await repository.insert_faq(
            session,
            task_id=work.task_id,
            source=message.snapshot.source,
            items=written.items,
            markdown=markdown,
            provenance=provenance,
        )
        generated = events.FaqGenerated(
            faq=f"faqs/{faq_id}",
            item_count=len(written.items),
            engine=provenance.engine,
            model=provenance.model,
        )
        await _reply(session, work, generated)

    return finish


async def _answer(question: str, reading: Reading, model: ModelClient | None, template: PromptTemplate) -> ModelAnswer:
    if model:
        return await answer_with_model(question, reading.passages, reading.facts, model=model, template=template)
    answer = await asyncio.to_thread(answer_extractively, question, reading.passages, reading.facts)
    return ModelAnswer(answer)


async def _faq(
    instruction: str, reading: Reading, wanted: int, model: ModelClient | None, template: PromptTemplate
) -> ModelFaq:
    items = await asyncio.to_thread(mine_faq, reading.passages, reading.facts, instruction, wanted)
    if model:
        return await reword_faq(items, model=model, template=template)
    return ModelFaq(items)


def _provenance(work: Work, snapshot: events.Snapshot, written: ModelAnswer | ModelFaq) -> Provenance:
    return Provenance(
        task=f"tasks/{work.task_id}",
        trace_id=telemetry.current_trace_id(),
        engine=written.engine or EXTRACTIVE,
        model=written.model,
        prompt_version=written.prompt,
        repository=snapshot.repository,
        commit=snapshot.commit,
        prompt_tokens=written.prompt_tokens,
        completion_tokens=written.completion_tokens,
    )


async def _reply(session: Session, work: Work, message: Message) -> None:
    await outbox.emit(session, message, task_id=work.task_id, causation_id=work.work_id)
