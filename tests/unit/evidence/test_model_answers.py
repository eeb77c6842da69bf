from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pytest
from pydantic import BaseModel

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Fact, Passage
from morningai.evidence.model_answers import OUTPUT_TOKENS, PASSAGE_TOKENS, ModelAnswer, answer_with_model
from morningai.llm import Completion, ModelUnavailable, Prompt, PromptTemplate, estimate_tokens

Repository = tuple[Sequence[Passage], Sequence[Fact]]
M = TypeVar("M", bound=BaseModel)
TEMPLATE = PromptTemplate("answer", 1, "Answer from the passages.", "{data:passages}\n{question}")


class ScriptedModel:
    def __init__(self, reply: dict[str, object]) -> None:
        self.reply = reply
        self.prompts: list[tuple[Prompt, int]] = []

    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]:
        self.prompts.append((prompt, max_output_tokens))
        return Completion(schema.model_validate(self.reply), "local", "tiny-1b", 100, 20)


class SilentModel:
    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]:
        raise ModelUnavailable("refused", attempts=1)


def claims(*drafts: tuple[str, str, int]) -> dict[str, object]:
    return {"found": True, "claims": [{"text": text, "quote": quote, "passage": at} for text, quote, at in drafts]}


async def ask(question: str, reply: dict[str, object], repository: Repository) -> ModelAnswer:
    return await answer_with_model(question, *repository, model=ScriptedModel(reply), template=TEMPLATE)


async def test_a_claim_keeps_the_words_of_the_model_and_the_quote_of_the_file(flask_app: Repository) -> None:
    reply = claims(
        ("The session is a cookie signed with the secret key", "keeps the session in a cookie that is SIGNED", 1)
    )
    result = await ask("How are sessions signed?", reply, flask_app)
    (claim,) = result.answer.claims
    assert (claim.text, claim.origin) == ("The session is a cookie signed with the secret key.", "model")
    assert claim.evidence[0].quote == "Keeps the session in a cookie that is signed"
    assert (claim.evidence[0].path, claim.evidence[0].start_line) == ("notes/sessions.py", 2)


async def test_a_quote_that_is_not_in_the_file_is_dropped_and_counted(flask_app: Repository) -> None:
    reply = claims(
        ("Sessions are signed with the secret key.", "a cookie that is signed with the secret key", 1),
        ("Sessions are signed by the server.", "the server signs every session before sending", 1),
    )
    result = await ask("How are sessions signed?", reply, flask_app)
    assert (len(result.answer.claims), result.dropped) == (1, 1)


async def test_a_claim_that_its_quote_does_not_carry_is_dropped(flask_app: Repository) -> None:
    reply = claims(("Sessions expire after 30 days.", "a cookie that is signed with the secret key", 1))
    result = await ask("How are sessions signed?", reply, flask_app)
    assert result.dropped == 1
    assert {claim.origin for claim in result.answer.claims} == {"extracted"}


async def test_a_wrong_passage_number_does_not_lose_a_right_quote(flask_app: Repository) -> None:
    reply = claims(("Sessions are signed with the secret key.", "a cookie that is signed with the secret key", 99))
    assert (await ask("How are sessions signed?", reply, flask_app)).dropped == 0


@pytest.mark.parametrize("reply", [{"found": False, "claims": []}, claims(("Nonsense.", "no such words here", 1))])
async def test_without_a_supported_claim_the_answer_is_extracted_and_says_so(
    flask_app: Repository, reply: dict[str, object]
) -> None:
    result = await ask("How are sessions signed?", reply, flask_app)
    assert result.answer == answer_extractively("How are sessions signed?", *flask_app)
    assert (result.engine, result.model, result.prompt) == ("local", "tiny-1b", "answer.v1")


async def test_parts_that_the_model_left_out_are_added(platform: Repository) -> None:
    reply = claims(
        ("The gateway is the public door and authenticates keys.", "The one public door, which authenticates", 1)
    )
    result = await ask("What is the system architecture?", reply, platform)
    by_model = [claim for claim in result.answer.claims if claim.origin == "model"]
    extracted = {
        claim.text.split("`")[1]
        for claim in result.answer.claims
        if claim.topic == "Services" and claim.origin == "extracted"
    }
    assert [claim.topic for claim in by_model] == ["Services"]
    assert extracted == {"orchestrator", "docs", "faqgen", "codegen", "tenancy", "gateway"}


async def test_a_part_that_the_model_names_with_its_quote_is_not_added_again(platform: Repository) -> None:
    reply = claims(("The faqgen service writes answers and FAQ items.", "**faqgen** writes answers and FAQ items", 1))
    result = await ask("Which services are there?", reply, platform)
    assert [claim.origin for claim in result.answer.claims if "faqgen" in claim.text] == ["model"]


async def test_the_model_is_not_asked_about_what_nothing_mentions(flask_app: Repository) -> None:
    model = ScriptedModel(claims(("Yes.", "Notes is a small web application", 1)))
    result = await answer_with_model("Is Kafka deployed?", *flask_app, model=model, template=TEMPLATE)
    assert (result.answer.found, result.engine, model.prompts) == (False, "", [])


async def test_a_model_cannot_turn_not_found_into_an_answer_about_something_else(flask_app: Repository) -> None:
    reply = claims(("Notes is a small web application.", "Notes is a small web application", 1))
    result = await ask("How does the session migration to Redis clusters work?", reply, flask_app)
    assert not result.answer.found


async def test_the_prompt_stays_within_its_budget(flask_app: Repository) -> None:
    passages, facts = flask_app
    model = ScriptedModel({"found": False, "claims": []})
    await answer_with_model("How are sessions signed?", [*passages] * 50, facts, model=model, template=TEMPLATE)
    ((prompt, output_tokens),) = model.prompts
    assert estimate_tokens(prompt.text) <= PASSAGE_TOKENS + 150
    assert output_tokens == OUTPUT_TOKENS


async def test_an_unavailable_model_is_the_callers_to_handle(flask_app: Repository) -> None:
    with pytest.raises(ModelUnavailable):
        await answer_with_model("How are sessions signed?", *flask_app, model=SilentModel(), template=TEMPLATE)
