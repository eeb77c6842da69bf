"""Answers worded by a model: it picks numbered lines and says what they say; the program has the quote of each line.

Invariant: every claim has the program's evidence. Wording that its line does not carry gives way to the line itself, as
an extracted claim, and so does every part of a structure question that the model left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Answer, Claim, Fact, Passage
from morningai.evidence.parts import Part
from morningai.evidence.prompt_lines import lines_budget, numbered_lines, question_lines, structure_lines
from morningai.evidence.statements import sentence
from morningai.evidence.structure import part_claims, structure_focus
from morningai.evidence.support import is_supported
from morningai.evidence.words import WEAK_STEMS, content_stems, stems
from morningai.llm import Completion, Prompt, PromptTemplate

OUTPUT_TOKENS = 400
_NUMBER_OF_LINE = re.compile(r"^\s*\[\d+\]\s*|\s*\[\d+\](?=\.?$)")

M = TypeVar("M", bound=BaseModel)


class Model(Protocol):
    """What is needed of the model client."""

    def prompt_budget(self, max_output_tokens: int) -> int: ...

    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]: ...


class DraftClaim(BaseModel):
    line: int
    text: str


class DraftAnswer(BaseModel):
    answered: bool
    claims: list[DraftClaim] = Field(max_length=4)


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The checked answer, who worded it, what it cost, and how many of the model's claims could not be kept as worded.

    Engine, model and prompt are empty when no claim is the model's, although asking it may have cost tokens.
    """

    answer: Answer
    engine: str = ""
    model: str = ""
    prompt: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dropped: int = 0


async def answer_with_model(
    question: str, passages: Sequence[Passage], facts: Sequence[Fact], *, model: Model, template: PromptTemplate
) -> ModelAnswer:
    """Asks the model about the best statements; the model's errors pass through.

    It is not asked when the passages have nothing that the question names.
    """
    material = await asyncio.to_thread(_gather, question, passages, facts, lines_budget(model.prompt_budget(0)))
    if not material.lines:
        return ModelAnswer(material.extracted)
    prompt = template.fill({"question": question, "lines": numbered_lines(material.lines)})
    completion = await model.complete(prompt, DraftAnswer, OUTPUT_TOKENS)
    drafts = completion.value.claims if completion.value.answered or material.extracted.found else []
    checked = checked_claims(question, drafts, material.lines)
    answer = _combined(question, checked, material)
    by_model = any(claim.origin == "model" for claim in answer.claims)
    return ModelAnswer(
        answer=answer,
        engine=completion.engine if by_model else "",
        model=completion.model if by_model else "",
        prompt=f"{prompt.name}.v{prompt.version}" if by_model else "",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        dropped=len(drafts) - sum(claim.origin == "model" for claim in checked),
    )


@dataclass(frozen=True, slots=True)
class _Material:
    """What the answer is made of: the extractive one, the lines shown, and for a structure question its parts."""

    extracted: Answer
    lines: tuple[Claim, ...]
    parts: tuple[tuple[Part, Claim], ...]


def _gather(question: str, passages: Sequence[Passage], facts: Sequence[Fact], budget_tokens: int) -> _Material:
    extracted = answer_extractively(question, passages, facts)
    if focus := structure_focus(question, passages, facts):
        parts = part_claims(focus, passages, facts)
        named = [part for part, _ in parts]
        return _Material(extracted, structure_lines(extracted, named, passages, budget_tokens=budget_tokens), parts)
    if not extracted.found and not _is_mentioned(question, passages):
        return _Material(extracted, (), ())
    return _Material(extracted, question_lines(question, extracted, passages, budget_tokens=budget_tokens), ())


def checked_claims(question: str, drafts: Sequence[DraftClaim], lines: Sequence[Claim]) -> tuple[Claim, ...]:
    """Each line that was picked, once and in order: in the words of the model where the line carries them."""
    claims: dict[int, Claim] = {}
    for draft in drafts:
        if not 1 <= draft.line <= len(lines):
            continue
        line = lines[draft.line - 1]
        text = " ".join(_NUMBER_OF_LINE.sub("", draft.text).split())
        if is_supported(text, f"{line.text}\n{_quotes(line)}", question):
            worded = line.text if _repeats(text, line.text) else sentence(text)
            claims.setdefault(draft.line, replace(line, text=worded, origin="model"))
        else:
            claims.setdefault(draft.line, line)
    return tuple(claims.values())


def _repeats(text: str, line: str) -> bool:
    """Whether the text only copies from the line, and may have lost the name in front: `make test`: Run every test."""
    return text.rstrip(".").lower() in line.lower()


def _quotes(claim: Claim) -> str:
    return "\n".join(f"{evidence.path} {evidence.quote}" for evidence in claim.evidence)


def _is_mentioned(question: str, passages: Sequence[Passage]) -> bool:
    asked = [item for item in content_stems(question) if item not in WEAK_STEMS]
    return any(item in passage.text.lower() for item in asked for passage in passages)


def _combined(question: str, checked: tuple[Claim, ...], material: _Material) -> Answer:
    extracted = material.extracted
    if material.parts:
        return _with_all_parts(checked, material.parts, extracted)
    relevant = checked if extracted.found else tuple(claim for claim in checked if _is_about(question, claim))
    if any(claim.origin == "model" for claim in relevant):
        return Answer(found=True, claims=relevant, searched=extracted.searched)
    return extracted


def _is_about(question: str, claim: Claim) -> bool:
    asked = {item for item in content_stems(question) if item not in WEAK_STEMS}
    present = set(stems(f"{claim.evidence[0].quote} {claim.evidence[0].path}"))
    return len(asked & present) * 2 >= len(asked)


def _with_all_parts(checked: tuple[Claim, ...], parts: Sequence[tuple[Part, Claim]], extracted: Answer) -> Answer:
    """The overview, then each part once, in its order: in the words of the model where it named the part."""
    worded = [claim for claim in checked if claim.origin == "model"]
    said = {evidence for claim in worded for evidence in claim.evidence}
    opening = [claim for claim in worded if claim.topic == "Overview"]
    opening.extend(claim for claim in extracted.claims if claim.topic == "Overview" and claim.evidence[0] not in said)
    named = [next((claim for claim in worded if _names(part, claim)), line) for part, line in parts]
    claims = tuple(dict.fromkeys([*opening, *named]))
    return Answer(found=bool(claims), claims=claims, searched=extracted.searched)


def _names(part: Part, claim: Claim) -> bool:
    mention = part.mention()
    shown = any(mention.search(evidence.quote) or part.name in evidence.path for evidence in claim.evidence)
    return claim.topic == part.topic and shown and mention.search(claim.text) is not None
