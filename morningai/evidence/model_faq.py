"""FAQ items reworded by a model: it may phrase question and answer, while evidence stays what the program resolved.

Invariant: wording that the quote does not carry, or that asks something else, is dropped for the mined wording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, Field

from morningai.evidence.headings import question_words
from morningai.evidence.model import Claim, FaqItem
from morningai.evidence.model_answers import Model
from morningai.evidence.statements import sentence
from morningai.evidence.support import is_supported
from morningai.llm import PromptTemplate

TOKENS_PER_ITEM = 110
LONGEST_QUESTION = 140
_LEAST_SHARED = 0.4


class DraftItem(BaseModel):
    item: int = Field(description="the number of the item")
    question: str = Field(description="the question as a developer would ask it")
    answer: str = Field(description="one or two short sentences that say what the quote says")


class DraftItems(BaseModel):
    items: list[DraftItem]


@dataclass(frozen=True, slots=True)
class ModelFaq:
    """The items, who worded them, what it cost, and how many wordings were dropped."""

    items: tuple[FaqItem, ...]
    engine: str
    model: str
    prompt: str
    prompt_tokens: int
    completion_tokens: int
    dropped: int


async def reword_faq(items: Sequence[FaqItem], instruction: str, *, model: Model, template: PromptTemplate) -> ModelFaq:
    """Rewords mined items; the model's errors pass through. Without items the model is not asked."""
    if not items:
        return ModelFaq((), engine="", model="", prompt="", prompt_tokens=0, completion_tokens=0, dropped=0)
    prompt = template.fill({"items": _numbered(items), "instruction": instruction})
    completion = await model.complete(prompt, DraftItems, TOKENS_PER_ITEM * len(items))
    reworded, dropped = checked_items(items, completion.value.items)
    return ModelFaq(
        items=reworded,
        engine=completion.engine,
        model=completion.model,
        prompt=f"{prompt.name}.v{prompt.version}",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        dropped=dropped,
    )


def checked_items(items: Sequence[FaqItem], drafts: Sequence[DraftItem]) -> tuple[tuple[FaqItem, ...], int]:
    """The items with the wordings that hold, and the number of questions and answers that do not."""
    result = list(items)
    asked = {item.question for item in items}
    dropped = 0
    for draft in drafts:
        if not 1 <= draft.item <= len(items):
            dropped += 1
            continue
        index = draft.item - 1
        question = " ".join(draft.question.split())
        if question != result[index].question and question not in asked and _asks_the_same(question, items[index]):
            asked.add(question)
            result[index] = replace(result[index], question=question)
        elif question != items[index].question:
            dropped += 1
        answered = _answered(draft.answer, items[index])
        dropped += answered is None
        result[index] = replace(result[index], claims=answered or items[index].claims)
    return tuple(result), dropped


def _asks_the_same(question: str, item: FaqItem) -> bool:
    mined, worded = question_words(item.question), question_words(question)
    names = [word for word in item.question.split("`")[1::2] if word not in question]
    fits = question.endswith("?") and len(question) <= LONGEST_QUESTION and not names
    return fits and bool(mined) and len(mined & worded) / len(mined) >= _LEAST_SHARED


def _answered(text: str, item: FaqItem) -> tuple[Claim, ...] | None:
    source = "\n".join(f"{claim.text}\n{_quotes(claim)}" for claim in item.claims)
    if not text.strip() or not is_supported(text, source, item.question):
        return None
    evidence = tuple(dict.fromkeys(item for claim in item.claims for item in claim.evidence))
    return (Claim(text=sentence(" ".join(text.split())), evidence=evidence, origin="model"),)


def _numbered(items: Sequence[FaqItem]) -> str:
    return "\n\n".join(
        f"[{number}] {item.question}\n" + "\n".join(_quotes(claim) for claim in item.claims)
        for number, item in enumerate(items, start=1)
    )


def _quotes(claim: Claim) -> str:
    return "\n".join(f"{evidence.path}: {evidence.quote}" for evidence in claim.evidence)
