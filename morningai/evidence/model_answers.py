"""Answers written by a model and checked by the program: the model quotes, the quotes are looked up in what it read.

Invariant: every claim has resolved evidence; a claim without is dropped and counted, and a part that the model left out
of a structure question is added as an extracted claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Answer, Claim, Fact, Passage
from morningai.evidence.parts import Part
from morningai.evidence.prompt_passages import numbered_passages, select_passages
from morningai.evidence.quotes import resolve_quote
from morningai.evidence.statements import sentence
from morningai.evidence.structure import part_claims, structure_focus
from morningai.evidence.support import is_supported
from morningai.evidence.words import WEAK_STEMS, content_stems, stems
from morningai.llm import Completion, Prompt, PromptTemplate

PASSAGE_TOKENS = 3500
OUTPUT_TOKENS = 700

M = TypeVar("M", bound=BaseModel)


class Model(Protocol):
    """What is needed of the model client."""

    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]: ...


class DraftClaim(BaseModel):
    text: str = Field(description="one sentence that answers the question")
    quote: str = Field(description="the words of the passage that show it, copied exactly")
    passage: int = Field(description="the number of the passage")


class DraftAnswer(BaseModel):
    found: bool = Field(description="whether the passages answer the question")
    claims: list[DraftClaim] = Field(max_length=8)


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The checked answer, who wrote it, what it cost, and how many of the model's claims were dropped."""

    answer: Answer
    engine: str
    model: str
    prompt: str
    prompt_tokens: int
    completion_tokens: int
    dropped: int


async def answer_with_model(
    question: str, passages: Sequence[Passage], facts: Sequence[Fact], *, model: Model, template: PromptTemplate
) -> ModelAnswer:
    """Asks the model about the best passages; the model's errors pass through.

    With nothing that the question names in the passages the model is not asked, and engine and model are empty.
    """
    extracted = await asyncio.to_thread(answer_extractively, question, passages, facts)
    if not extracted.found and not _is_mentioned(question, passages):
        return ModelAnswer(extracted, engine="", model="", prompt="", prompt_tokens=0, completion_tokens=0, dropped=0)
    shown = select_passages(passages, extracted.claims, budget_tokens=PASSAGE_TOKENS)
    prompt = template.fill({"question": question, "passages": numbered_passages(shown)})
    completion = await model.complete(prompt, DraftAnswer, OUTPUT_TOKENS)
    drafts = completion.value.claims if completion.value.found or extracted.found else []
    kept = checked_claims(question, drafts, shown)
    return ModelAnswer(
        answer=await asyncio.to_thread(_combined, question, kept, extracted, (passages, facts)),
        engine=completion.engine,
        model=completion.model,
        prompt=f"{prompt.name}.v{prompt.version}",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        dropped=len(drafts) - len(kept),
    )


def checked_claims(question: str, drafts: Sequence[DraftClaim], shown: Sequence[Passage]) -> tuple[Claim, ...]:
    """The drafts whose quote is in the passages and carries their text, each quote once."""
    claims: dict[tuple[str, int, str], Claim] = {}
    for draft in drafts:
        named = [shown[draft.passage - 1]] if 1 <= draft.passage <= len(shown) else []
        evidence = resolve_quote(draft.quote, [*named, *shown])
        if evidence is None or not is_supported(draft.text, evidence.quote, question):
            continue
        claim = Claim(text=sentence(draft.text), evidence=(evidence,), origin="model")
        claims.setdefault((evidence.path, evidence.start_line, evidence.quote), claim)
    return tuple(claims.values())


def _is_mentioned(question: str, passages: Sequence[Passage]) -> bool:
    asked = [item for item in content_stems(question) if item not in WEAK_STEMS]
    return any(item in passage.text.lower() for item in asked for passage in passages)


def _combined(
    question: str,
    kept: tuple[Claim, ...],
    extracted: Answer,
    sources: tuple[Sequence[Passage], Sequence[Fact]],
) -> Answer:
    focus = structure_focus(question, *sources)
    if focus:
        return _with_all_parts(kept, part_claims(focus, *sources), extracted)
    relevant = kept if extracted.found else tuple(claim for claim in kept if _is_about(question, claim))
    if relevant:
        return Answer(found=True, claims=relevant, searched=extracted.searched)
    return extracted


def _is_about(question: str, claim: Claim) -> bool:
    asked = {item for item in content_stems(question) if item not in WEAK_STEMS}
    present = set(stems(f"{claim.evidence[0].quote} {claim.evidence[0].path}"))
    return len(asked & present) * 2 >= len(asked)


def _with_all_parts(kept: tuple[Claim, ...], parts: Sequence[tuple[Part, Claim]], extracted: Answer) -> Answer:
    """The model's claims under the topic of the part they name, and an extracted claim for every part they do not."""
    written = tuple(replace(claim, topic=_topic_of(claim, parts)) for claim in kept)
    covered = [part for part, _ in parts if any(_names(part, claim) for claim in written)]
    missing = [claim for part, claim in parts if part not in covered]
    opening = [claim for claim in extracted.claims if claim.topic == "Overview"] if not written else []
    claims = sorted([*opening, *written, *missing], key=lambda claim: _topic_order(claim, parts))
    return Answer(found=bool(claims), claims=tuple(claims), searched=extracted.searched)


def _names(part: Part, claim: Claim) -> bool:
    mention = part.mention()
    shown = any(mention.search(evidence.quote) or part.name in evidence.path for evidence in claim.evidence)
    return shown and mention.search(claim.text) is not None


def _topic_of(claim: Claim, parts: Sequence[tuple[Part, Claim]]) -> str:
    topics = {part.topic for part, _ in parts if part.mention().search(claim.text)}
    return topics.pop() if len(topics) == 1 else "Overview"


def _topic_order(claim: Claim, parts: Sequence[tuple[Part, Claim]]) -> int:
    topics = list(dict.fromkeys(["Overview", *(part.topic for part, _ in parts)]))
    return topics.index(claim.topic) if claim.topic in topics else 0
