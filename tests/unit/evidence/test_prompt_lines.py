from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Fact, Passage
from morningai.evidence.prompt_lines import lines_budget, numbered_lines, question_lines, structure_lines
from morningai.evidence.structure import part_claims, structure_focus
from morningai.llm import estimate_tokens

Repository = tuple[Sequence[Passage], Sequence[Fact]]
Make = Callable[..., Passage]
QUESTION = "How are sessions signed?"
STRUCTURE = "What is the system architecture?"


def test_the_extracted_answer_leads_and_other_statements_follow(flask_app: Repository) -> None:
    extracted = answer_extractively(QUESTION, *flask_app)
    lines = question_lines(QUESTION, extracted, flask_app[0], budget_tokens=700)
    assert lines[: len(extracted.claims)] == extracted.claims


def test_every_line_has_a_number_and_the_evidence_of_its_file(flask_app: Repository) -> None:
    lines = question_lines(QUESTION, answer_extractively(QUESTION, *flask_app), flask_app[0], budget_tokens=700)
    assert numbered_lines(lines).startswith("[1] `notes/sessions.py` defines `SignedSession`: Keeps the session")
    assert all(line.evidence for line in lines)


def test_no_line_stands_twice(flask_app: Repository) -> None:
    passages = [*flask_app[0], *flask_app[0]]
    lines = question_lines(QUESTION, answer_extractively(QUESTION, passages, ()), passages, budget_tokens=700)
    assert len({line.text for line in lines}) == len(lines)


def test_the_lines_stay_within_the_budget(make_passage: Make) -> None:
    passages = [make_passage(f"docs/{n}.md", f"Sessions of kind {n} are signed with key {n}.") for n in range(60)]
    lines = question_lines(QUESTION, answer_extractively(QUESTION, passages, ()), passages, budget_tokens=200)
    assert 100 < estimate_tokens(numbered_lines(lines)) <= 200


def test_a_structure_is_shown_by_its_overview_and_its_parts(platform: Repository) -> None:
    parts = [part for part, _ in part_claims(structure_focus(STRUCTURE, *platform), *platform)]
    extracted = answer_extractively(STRUCTURE, *platform)
    text = numbered_lines(structure_lines(extracted, parts, platform[0], budget_tokens=700))
    assert text.startswith("[1] Six services exchange events on NATS JetStream.")
    assert all(f"`{name}`" in text for name in ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy"))


@pytest.mark.parametrize(("prompt_budget", "tokens"), [(8_192, 700), (128_000, 6_000)])
def test_a_model_with_a_larger_context_reads_more(prompt_budget: int, tokens: int) -> None:
    assert lines_budget(prompt_budget) == tokens
