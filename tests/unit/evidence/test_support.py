from __future__ import annotations

import pytest

from morningai.evidence.support import is_supported

QUOTE = "The relay publishes due rows in batches of 100; `mark_published` runs after the acknowledgement."


@pytest.mark.parametrize(
    "text",
    [
        "The relay publishes due rows in batches.",
        "Rows are marked by `mark_published` after the acknowledgement.",
        "A batch has 100 rows that are due.",
    ],
)
def test_a_sentence_in_the_words_of_the_quote_is_supported(text: str) -> None:
    assert is_supported(text, QUOTE)


@pytest.mark.parametrize(
    "text",
    [
        "The relay publishes due rows in batches of 500.",
        "The relay publishes due rows through `KafkaProducer`.",
        "The relay never publishes due rows.",
        "Customers may cancel their subscription whenever they like.",
        "",
    ],
)
def test_new_names_numbers_negations_or_words_are_not_supported(text: str) -> None:
    assert not is_supported(text, QUOTE)
