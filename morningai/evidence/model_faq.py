"""Answers of FAQ items reworded by a model; questions and evidence stay what the program mined and resolved.

Invariant: wording that the quote does not carry, or that has no other words than the quote, gives way to the mined one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from morningai.evidence.model import Claim, FaqItem
from morningai.evidence.statements import sentence
from morningai.evidence.support import is_supported
from morningai.evidence.words import stems
from morningai.llm import Completion, Prompt, PromptTemplate

TOKENS_PER_ITEM = 60
LONGEST_NOTE = 240
_ANSWER = re.compile(r"(?m)^\s*\[?(\d{1,3})[.)\]]\s*(.+?)\s*$")


class TextModel(Protocol):
    """What is needed of the model client. Small models copy when they must answer in JSON; in a list they reword."""

    async def complete_text(self, prompt: Prompt, max_output_tokens: int) -> Completion[str]: ...


@dataclass(frozen=True, slots=True)
class ModelFaq:
    """The items, who worded them, what it cost, and how many wordings were not kept.

    Engine, model and prompt are empty when no answer is the model's, although asking it may have cost tokens.
    """

    items: tuple[FaqItem, ...]
    engine: str = ""
    model: str = ""
    prompt: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dropped: int = 0


async def reword_faq(items: Sequence[FaqItem], *, model: TextModel, template: PromptTemplate) -> ModelFaq:
    """Rewords the short answers; the model's errors pass through. Where there is none, the model is not asked."""
    short = [index for index, item in enumerate(items) if len(_note(item)) <= LONGEST_NOTE]
    if not short:
        return ModelFaq(tuple(items))
    prompt = template.fill({"items": _numbered([items[index] for index in short])})
    completion = await model.complete_text(prompt, TOKENS_PER_ITEM * len(short))
    answers = {int(number): text for number, text in _ANSWER.findall(completion.value)}
    reworded = list(items)
    for number, index in enumerate(short, start=1):
        reworded[index] = _reworded(items[index], answers.get(number, ""))
    kept = sum(_is_by_model(item) for item in reworded)
    return ModelFaq(
        items=tuple(reworded),
        engine=completion.engine if kept else "",
        model=completion.model if kept else "",
        prompt=f"{prompt.name}.v{prompt.version}" if kept else "",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        dropped=len(answers) - kept,
    )


def _reworded(item: FaqItem, answer: str) -> FaqItem:
    text = sentence(" ".join(answer.split()))
    source = "\n".join(f"{claim.text}\n{_quotes(claim)}" for claim in item.claims)
    is_new = set(stems(text)) != set(stems(_note(item)))
    if not answer or not is_new or not is_supported(text, source, item.question):
        return item
    evidence = tuple(dict.fromkeys(item for claim in item.claims for item in claim.evidence))
    return replace(item, claims=(Claim(text=text, evidence=evidence, origin="model"),))


def _is_by_model(item: FaqItem) -> bool:
    return any(claim.origin == "model" for claim in item.claims)


def _numbered(items: Sequence[FaqItem]) -> str:
    return "\n".join(f"{number}. {item.question}\nNote: {_note(item)}" for number, item in enumerate(items, start=1))


def _note(item: FaqItem) -> str:
    return " ".join(claim.text for claim in item.claims)


def _quotes(claim: Claim) -> str:
    return "\n".join(f"{evidence.path}: {evidence.quote}" for evidence in claim.evidence)
