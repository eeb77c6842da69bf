from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morningai.evidence.words import content_stems, stem, stems


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("policy", "policies"),
        ("run", "running"),
        ("isolation", "isolated"),
        ("authenticate", "authentication"),
        ("configure", "configuration"),
        ("table", "tables"),
        ("verified", "verification"),
        ("retry", "retries"),
        ("cancel", "cancelled"),
        ("install", "installing"),
    ],
)
def test_inflections_share_a_stem(left: str, right: str) -> None:
    assert stem(left) == stem(right)


@pytest.mark.parametrize("word", ["status", "class", "bus", "nats", "process", "this"])
def test_endings_that_are_no_inflection_stay(word: str) -> None:
    assert word.startswith(stem(word))
    assert len(word) - len(stem(word)) <= 1


@given(st.from_regex(r"[a-z]{1,20}", fullmatch=True))
def test_a_stem_is_a_prefix_of_its_word(word: str) -> None:
    assert word.startswith(stem(word))


def test_identifiers_give_themselves_and_their_parts() -> None:
    assert stems("TaskService max_output") == ["taskservice", stem("task"), stem("service"), "max", "output"]


def test_a_question_keeps_only_the_words_that_carry_it() -> None:
    assert content_stems("How does the gateway authenticate a key?") == (stem("gateway"), stem("authenticate"), "key")
