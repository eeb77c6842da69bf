from __future__ import annotations

import pytest

from morningai.llm.tokens import estimate_tokens, fewest_tokens

CODE = "def find(values: list[int], wanted: int) -> int:\n    return values.index(wanted)\n"
PROSE = "The relay publishes due rows in batches, and one relay is active at a time.\n"


@pytest.mark.parametrize(("text", "counted"), [(CODE, 22), (PROSE, 17)], ids=["code", "prose"])
def test_the_tokenizers_count_lies_between_the_fewest_and_the_estimate(text: str, counted: int) -> None:
    assert fewest_tokens(text) <= counted <= estimate_tokens(text) <= 2 * counted


def test_blank_space_needs_no_tokens() -> None:
    assert fewest_tokens(" " * 10_000) == 0


def test_a_text_without_spaces_is_estimated_by_its_bytes() -> None:
    assert estimate_tokens("f" * 3_600) >= 1_000
