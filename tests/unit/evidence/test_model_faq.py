from __future__ import annotations

import pytest

from morningai.evidence.model import Claim, Evidence, FaqItem
from morningai.evidence.model_faq import LONGEST_NOTE, TOKENS_PER_ITEM, reword_faq
from morningai.llm import Completion, Prompt, PromptTemplate

EVIDENCE = Evidence("Makefile", "c" * 40, "b" * 40, 3, 4, "test: ## Run every test\n\tpytest -q")
ITEM = FaqItem("How do I run the tests?", (Claim("Run `make test`: Run every test.", (EVIDENCE,), "extracted"),))
LONG_ITEM = FaqItem("How do I start?", (Claim("Run this. " * 30, (EVIDENCE,), "extracted"),))
TEMPLATE = PromptTemplate("faq", 1, "Reword.", "{data:items}")


class ScriptedModel:
    def __init__(self, text: str) -> None:
        self.text = text
        self.prompts: list[tuple[Prompt, int]] = []

    async def complete_text(self, prompt: Prompt, max_output_tokens: int) -> Completion[str]:
        self.prompts.append((prompt, max_output_tokens))
        return Completion(self.text, "local", "tiny-1b", 10, 5)


async def test_the_wording_is_the_models_and_the_evidence_the_programs() -> None:
    model = ScriptedModel("1. To run all tests, use `make test`, which calls pytest")
    result = await reword_faq([ITEM], model=model, template=TEMPLATE)
    claim = Claim("To run all tests, use `make test`, which calls pytest.", (EVIDENCE,), "model")
    assert result.items == (FaqItem(ITEM.question, (claim,)),)
    assert (result.engine, result.prompt, result.dropped) == ("local", "faq.v1", 0)


@pytest.mark.parametrize("items", [[], [LONG_ITEM]])
async def test_where_nothing_is_short_enough_to_reword_the_model_is_not_asked(items: list[FaqItem]) -> None:
    model = ScriptedModel("1. Run `make test`.")
    result = await reword_faq(items, model=model, template=TEMPLATE)
    assert (result.items, result.engine, model.prompts) == (tuple(items), "", [])


async def test_a_long_answer_is_left_out_of_the_numbering() -> None:
    model = ScriptedModel("1. To run all tests, use `make test`.")
    result = await reword_faq([LONG_ITEM, ITEM], model=model, template=TEMPLATE)
    assert [item.claims[0].origin for item in result.items] == ["extracted", "model"]
    assert len(LONG_ITEM.claims[0].text) > LONGEST_NOTE
    assert model.prompts[0][1] == TOKENS_PER_ITEM


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("7. To run all tests, use `make test`.", 1),
        ("1. Call `tox` with 4 workers.", 1),
        ("1. Coffee is served in the kitchen.", 1),
        ("1. Run `make test` run every test.", 1),
        ("Run the tests.", 0),
    ],
    ids=["no such item", "new names and numbers", "something else", "the same words", "no list"],
)
async def test_wording_that_is_not_carried_or_not_new_gives_way_to_the_quote(text: str, dropped: int) -> None:
    result = await reword_faq([ITEM], model=ScriptedModel(text), template=TEMPLATE)
    assert (result.items, result.engine, result.model, result.dropped) == ((ITEM,), "", "", dropped)
    assert result.prompt_tokens == 10
