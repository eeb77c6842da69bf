from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Answer, Fact, Passage
from morningai.evidence.quotes import check_evidence

Repository = tuple[Sequence[Passage], Sequence[Fact]]


def assert_verbatim(answer: Answer, repository: Repository) -> None:
    passages, facts = repository
    held = [
        check_evidence(replace(evidence, start_line=1, end_line=text.count("\n") + 1), text.split("\n"))
        for claim in answer.claims
        for evidence in claim.evidence
        for text in ["\n".join([item.text for item in passages if item.path == evidence.path]
                               + [item.quote for item in facts if item.path == evidence.path])]
    ]  # fmt: skip
    assert held
    assert all(held)


@pytest.mark.parametrize(
    ("question", "said", "path"),
    [
        ("How do I install it?", "pip install notes", "README.md"),
        ("How do I run the tests?", "pytest -q", "README.md"),
        ("Where is create_app defined?", "defines `create_app`", "notes/app.py"),
        ("How are sessions signed?", "signed with the secret key", "notes/sessions.py"),
        ("What happens with unknown notes?", "Unknown notes give 404.", "docs/errors.md"),
        ("How can a note be removed?", "Removes a note for ever.", "notes/store.py"),
        ("what is an ERROR PAGE", "An error page tells the reader", "docs/errors.md"),
        ("Which Python version is required?", "needs Python 3.11", "README.md"),
    ],
)
def test_a_question_is_answered_by_the_line_that_says_it(
    flask_app: Repository, question: str, said: str, path: str
) -> None:
    answer = answer_extractively(question, *flask_app)
    assert answer.found
    assert said in answer.claims[0].text
    assert answer.claims[0].evidence[0].path == path
    assert_verbatim(answer, flask_app)


LONG_QUESTION = (
    "How does the signed session keep the cookie of the application, which secret key is used for the routes, and "
    "where are the unknown notes and their error page stored?"
)


def test_a_question_of_many_words_is_answered_although_no_line_holds_half_of_it(flask_app: Repository) -> None:
    answer = answer_extractively(LONG_QUESTION, *flask_app)
    assert answer.found
    assert answer.claims[0].evidence[0].path == "notes/sessions.py"


def test_a_question_of_many_words_that_occur_nowhere_is_not_answered(flask_app: Repository) -> None:
    question = LONG_QUESTION.replace("unknown", "tropical").replace("error page", "quantum glacier volcano")
    assert not answer_extractively(question, *flask_app).found


@pytest.mark.parametrize(
    "question",
    [
        "blorp quux zzyzx?",
        "How is Kubernetes autoscaling configured?",
        "Does it support GraphQL subscriptions?",
        "Who won the world cup in 1990?",
        "Which message broker carries the payments?",
        "???",
        "how?",
    ],
)
def test_what_the_sources_do_not_hold_is_not_found(flask_app: Repository, question: str) -> None:
    answer = answer_extractively(question, *flask_app)
    assert (answer.found, answer.claims) == (False, ())
    assert answer.searched


def test_not_found_says_what_was_looked_for_and_where(flask_app: Repository) -> None:
    searched = answer_extractively("Does it support GraphQL?", *flask_app).searched
    assert searched[:3] == (
        "looked for: support, GraphQL",
        "mentioned nowhere: support, GraphQL",
        "in 8 passages and 2 facts of 6 files",
    )


def test_an_empty_repository_answers_nothing() -> None:
    assert not answer_extractively("What is the system architecture?", (), ()).found


def test_the_same_sentence_in_two_files_is_claimed_once(flask_app: Repository) -> None:
    passages, facts = flask_app
    twice = [*passages, *(replace(passage, path=f"copy/{passage.path}") for passage in passages)]
    claims = answer_extractively("How are sessions signed?", twice, facts).claims
    assert len({claim.text.split(": ")[-1] for claim in claims}) == len(claims)


def test_the_answer_does_not_depend_on_anything_but_its_input(flask_app: Repository) -> None:
    assert answer_extractively("How do errors work?", *flask_app) == answer_extractively(
        "How do errors work?", *flask_app
    )


@pytest.mark.parametrize("question", ["How are sessions signed?", "What is the system architecture?"])
def test_two_thousand_passages_are_answered_within_the_limit(
    flask_app: Repository, platform: Repository, question: str
) -> None:
    base = [*flask_app[0], *platform[0]]
    passages = [
        replace(base[number % len(base)], path=f"part{number}/{base[number % len(base)].path}")
        for number in range(2000)
    ]
    facts = [*flask_app[1], *platform[1]]
    answer_extractively(question, passages, facts)
    started = time.perf_counter()
    answer_extractively(question, passages, facts)
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How is the port configured?", '`PORT`: `PORT = int(os.environ.get("SHOP_PORT", "8080"))`.'),
        ("Where are orders cancelled?", "`shop/orders.py` defines `cancel_order`."),
    ],
)
def test_code_without_documentation_answers(undocumented: Repository, question: str, text: str) -> None:
    answer = answer_extractively(question, *undocumented)
    assert answer.claims[0].text.endswith(text)
