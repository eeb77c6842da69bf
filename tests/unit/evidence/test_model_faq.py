from __future__ import annotations

from typing import TypeVar

import pytest
from pydantic import BaseModel

from morningai.evidence.model import Claim, Evidence, FaqItem
from morningai.evidence.model_faq import DraftItem, checked_items, reword_faq
from morningai.llm import Completion, Prompt, PromptTemplate

M = TypeVar("M", bound=BaseModel)
EVIDENCE = Evidence("Makefile", "c" * 40, "b" * 40, 3, 4, "test: ## Run every test\n\tpytest -q")
ITEM = FaqItem("How do I run the tests?", (Claim("Run `make test`: Run every test.", (EVIDENCE,), "extracted"),))
TEMPLATE = PromptTemplate("faq", 1, "Reword.", "{data:items}\n{instruction}")


class ScriptedModel:
    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]:
        items = [{"item": 1, "question": "How can I run all tests?", "answer": "Use `make test`; it runs pytest."}]
        return Completion(schema.model_validate({"items": items}), "local", "tiny-1b", 10, 5)


async def test_the_wording_is_the_models_and_the_evidence_the_programs() -> None:
    result = await reword_faq([ITEM], "an FAQ", model=ScriptedModel(), template=TEMPLATE)
    claim = Claim("Use `make test`; it runs pytest.", (EVIDENCE,), "model")
    assert result.items == (FaqItem("How can I run all tests?", (claim,)),)
    assert (result.engine, result.prompt, result.dropped) == ("local", "faq.v1", 0)


async def test_without_items_the_model_is_not_asked() -> None:
    result = await reword_faq([], "an FAQ", model=ScriptedModel(), template=TEMPLATE)
    assert (result.items, result.engine) == ((), "")


@pytest.mark.parametrize(
    ("draft", "dropped"),
    [
        (DraftItem(item=7, question="How do I run the tests?", answer="Run `make test`."), 1),
        (DraftItem(item=1, question="What is the price of coffee?", answer="It costs 3 dollars."), 2),
        (DraftItem(item=1, question="Tests, run.", answer=""), 2),
        (DraftItem(item=1, question="How do I run the tests?", answer="Call `tox` with 4 workers."), 1),
    ],
)
def test_wording_that_asks_or_says_something_else_is_dropped(draft: DraftItem, dropped: int) -> None:
    assert checked_items([ITEM], [draft]) == ((ITEM,), dropped)


def test_two_items_never_get_the_same_question() -> None:
    other = FaqItem("How do I run every test of the suite?", ITEM.claims)
    drafts = [DraftItem(item=number, question="How do I run tests?", answer="Run `make test`.") for number in (1, 2)]
    items, _ = checked_items([ITEM, other], drafts)
    assert len({item.question for item in items}) == 2
