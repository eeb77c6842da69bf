from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from morningai.evidence.faq import mine_faq
from morningai.evidence.model import Fact, Passage

Repository = tuple[Sequence[Passage], Sequence[Fact]]


def questions(repository: Repository, instruction: str = "", count: int = 10) -> list[str]:
    return [item.question for item in mine_faq(*repository, instruction, count)]


def test_an_application_gives_five_distinct_questions_over_four_files(flask_app: Repository) -> None:
    items = mine_faq(*flask_app, "Write an FAQ", 5)
    assert len({item.question for item in items}) == 5
    assert len({item.claims[0].evidence[0].path for item in items}) >= 4


def test_every_quote_of_an_item_stands_in_its_file(flask_app: Repository) -> None:
    texts = {passage.path: "" for passage in flask_app[0]}
    for passage in flask_app[0]:
        texts[passage.path] += f"{passage.text}\n"
    for fact in flask_app[1]:
        texts[fact.path] += f"{fact.quote}\n"
    quoted = [
        evidence
        for item in mine_faq(*flask_app, "", 20)
        for claim in item.claims
        for evidence in claim.evidence
    ]  # fmt: skip
    assert quoted
    assert all(evidence.quote in texts[evidence.path] for evidence in quoted)


def test_questions_come_from_headings_services_and_names(flask_app: Repository, platform: Repository) -> None:
    asked = questions(flask_app, count=20) + questions(platform, count=20)
    assert {
        "How do I install Notes?",
        "How do I run the tests?",
        "What does `create_app` do?",
        "What is `SignedSession`?",
        "What does the `gateway` service do?",
    } <= set(asked)


def test_a_how_question_is_answered_by_its_command(flask_app: Repository) -> None:
    items = {item.question: item for item in mine_faq(*flask_app, "", 20)}
    assert items["How do I run the tests?"].claims[0].evidence[0].quote == "pytest -q"


def test_questions_that_ask_the_same_are_merged(make_passage: Callable[..., Passage]) -> None:
    passages = [
        make_passage("README.md", "## Tests\n\nRun the whole suite with `make test` first.\n", symbol="Tests"),
        make_passage("Makefile", "test: ## Run every test\n\tpytest -q\n"),
    ]
    (item,) = mine_faq(passages, (), "", 10)
    assert item.question == "How do I run the tests?"
    assert {claim.evidence[0].path for claim in item.claims} == {"README.md", "Makefile"}


def test_the_instruction_moves_its_words_up(flask_app: Repository) -> None:
    assert questions(flask_app, "an FAQ about the signed session cookie", 1) == ["What is `SignedSession`?"]


def test_an_instruction_that_nothing_is_about_still_gives_an_faq(flask_app: Repository) -> None:
    assert len(questions(flask_app, "quantum chromodynamics", 5)) == 5


@pytest.mark.parametrize("count", [1, 3])
def test_no_more_items_than_wanted(flask_app: Repository, count: int) -> None:
    assert len(questions(flask_app, count=count)) == count


def test_an_empty_repository_has_no_questions() -> None:
    assert mine_faq((), (), "anything", 5) == ()


def test_code_without_documentation_is_asked_about_by_what_it_declares(undocumented: Repository) -> None:
    items = mine_faq(*undocumented, "", 8)
    assert [item.question for item in items] == [
        "Which routes are there?",
        "What does `shop.orders` define?",
        "What does `shop.server` define?",
        "What is `PORT` set to?",
        "Where is `cancel_order` defined?",
    ]


def test_a_listed_service_is_not_asked_what_it_does(dotnet: Repository) -> None:
    questions = [item.question for item in mine_faq(*dotnet, "", 8)]
    assert "What does `Basket.API` define?" in questions
    assert "What does the `Basket.API` service do?" not in questions
