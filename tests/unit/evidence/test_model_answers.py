from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from pydantic import BaseModel

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Fact, Passage
from morningai.evidence.model_answers import OUTPUT_TOKENS, ModelAnswer, answer_with_model
from morningai.llm import Completion, ModelUnavailable, Prompt, PromptTemplate, estimate_tokens

Repository = tuple[Sequence[Passage], Sequence[Fact]]
Make = Callable[..., Passage]
M = TypeVar("M", bound=BaseModel)
TEMPLATE = PromptTemplate("answer", 1, "Answer from the lines.", "{data:lines}\n{question}")
SIGNED = "How are sessions signed?"
STRUCTURE = "What is the system architecture?"


class ScriptedModel:
    """Names a line by words that stand in it, as a model names it by its number."""

    def __init__(self, *claims: tuple[str, str], answered: bool = True) -> None:
        self.claims = claims
        self.answered = answered
        self.prompts: list[tuple[Prompt, int]] = []

    def prompt_budget(self, max_output_tokens: int) -> int:
        return 8_192 - max_output_tokens

    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]:
        self.prompts.append((prompt, max_output_tokens))
        lines = [line for line in prompt.user.split("\n") if line.startswith("[")]
        numbers = [next((n for n, line in enumerate(lines, 1) if words in line), 99) for words, _ in self.claims]
        drafts = [{"line": number, "text": text} for number, (_, text) in zip(numbers, self.claims, strict=True)]
        value = schema.model_validate({"answered": self.answered, "claims": drafts})
        return Completion(value, "local", "tiny-1b", 100, 20)


class SilentModel(ScriptedModel):
    async def complete(self, prompt: Prompt, schema: type[M], max_output_tokens: int) -> Completion[M]:
        raise ModelUnavailable("refused", attempts=1)


async def ask(question: str, repository: Repository, *claims: tuple[str, str], answered: bool = True) -> ModelAnswer:
    model = ScriptedModel(*claims, answered=answered)
    return await answer_with_model(question, *repository, model=model, template=TEMPLATE)


async def test_a_claim_has_the_words_of_the_model_and_the_quote_of_the_line(flask_app: Repository) -> None:
    result = await ask(SIGNED, flask_app, ("Keeps the session", "[1] The session is a cookie signed with the key"))
    (claim,) = result.answer.claims
    assert (claim.text, claim.origin) == ("The session is a cookie signed with the key.", "model")
    assert "Keeps the session in a cookie that is signed with the secret key." in claim.evidence[0].quote
    assert (claim.evidence[0].path, claim.evidence[0].start_line) == ("notes/sessions.py", 1)
    assert (result.engine, result.model, result.prompt) == ("local", "tiny-1b", "answer.v1")


async def test_a_copied_line_keeps_the_name_in_front(make_passage: Make) -> None:
    passages = [make_passage("Makefile", "test: ## Run every test that needs no network\n\tpytest\n")]
    result = await ask("How do I run the tests?", (passages, ()), ("make test", "Run every test that needs no network"))
    assert [claim.text for claim in result.answer.claims] == ["`make test`: Run every test that needs no network."]


async def test_a_number_that_no_line_has_is_dropped_and_counted(flask_app: Repository) -> None:
    claims = (("Keeps the session", "Sessions are signed with the secret key."), ("no such words", "They expire."))
    result = await ask(SIGNED, flask_app, *claims)
    assert (len(result.answer.claims), result.dropped) == (1, 1)


async def test_wording_that_its_line_does_not_carry_gives_way_to_the_line(flask_app: Repository) -> None:
    claims = (
        ("Keeps the session", "Sessions are signed with the secret key."),
        ("An error page", "Error pages keep sessions for 30 days."),
    )
    result = await ask("How are sessions signed on an error page?", flask_app, *claims)
    said = [(claim.origin, claim.text) for claim in result.answer.claims]
    assert said == [
        ("model", "Sessions are signed with the secret key."),
        ("extracted", "An error page tells the reader what happened."),
    ]
    assert result.dropped == 1


@pytest.mark.parametrize(
    ("claims", "answered"),
    [((), False), ((("no such words", "Nonsense."),), True), ((("Keeps", "In 30 days."),), True)],
)
async def test_when_nothing_is_in_the_words_of_the_model_the_answer_is_the_extractive_engines(
    flask_app: Repository, claims: tuple[tuple[str, str], ...], answered: bool
) -> None:
    result = await ask(SIGNED, flask_app, *claims, answered=answered)
    assert result.answer == answer_extractively(SIGNED, *flask_app)
    assert (result.engine, result.model, result.prompt) == ("", "", "")
    assert (result.prompt_tokens, result.completion_tokens) == (100, 20)


async def test_parts_that_the_model_left_out_are_added(platform: Repository) -> None:
    result = await ask(STRUCTURE, platform, ("The one public door", "The gateway is the public door."))
    by_model = [claim for claim in result.answer.claims if claim.origin == "model"]
    extracted = {
        claim.text.split("`")[1]
        for claim in result.answer.claims
        if claim.topic == "Services" and claim.origin == "extracted"
    }
    assert [claim.topic for claim in by_model] == ["Services"]
    assert extracted == {"orchestrator", "docs", "faqgen", "codegen", "tenancy"}


async def test_a_sentence_of_the_overview_is_said_once(platform: Repository) -> None:
    result = await ask(STRUCTURE, platform, ("Six services", "Six services exchange events with NATS JetStream."))
    assert [claim.origin for claim in result.answer.claims if "Six services" in claim.text] == ["model"]


async def test_the_model_is_not_asked_about_what_nothing_mentions(flask_app: Repository) -> None:
    model = ScriptedModel(("Notes is a small", "Yes."))
    result = await answer_with_model("Is Kafka deployed?", *flask_app, model=model, template=TEMPLATE)
    assert (result.answer.found, result.engine, model.prompts) == (False, "", [])


async def test_a_model_cannot_turn_not_found_into_an_answer_about_something_else(flask_app: Repository) -> None:
    claims = (("Keeps the session", "Notes is a small web application."),)
    result = await ask("How does the session migration to Redis clusters work?", flask_app, *claims)
    assert not result.answer.found


async def test_the_prompt_of_a_model_with_a_small_context_is_short(flask_app: Repository) -> None:
    passages, facts = flask_app
    model = ScriptedModel(answered=False)
    await answer_with_model(SIGNED, [*passages] * 50, facts, model=model, template=TEMPLATE)
    ((prompt, output_tokens),) = model.prompts
    assert estimate_tokens(prompt.text) <= 1_000
    assert output_tokens == OUTPUT_TOKENS


async def test_an_unavailable_model_is_the_callers_to_handle(flask_app: Repository) -> None:
    with pytest.raises(ModelUnavailable):
        await answer_with_model(SIGNED, *flask_app, model=SilentModel(), template=TEMPLATE)
