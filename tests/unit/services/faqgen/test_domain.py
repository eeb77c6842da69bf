from __future__ import annotations

import pytest

from morningai.errors import InvalidInput
from morningai.evidence.model import Claim, ClaimOrigin
from services.faqgen.domain import (
    DEFAULT_FAQ_ITEMS,
    LONGEST_INSTRUCTION_CHARACTERS,
    checked_instruction,
    engine_of,
    faq_items_wanted,
)


def test_an_instruction_loses_the_blanks_around_it() -> None:
    assert checked_instruction("  What is it?\n") == "What is it?"


@pytest.mark.parametrize("instruction", ["", " \n ", "???", "x" * (LONGEST_INSTRUCTION_CHARACTERS + 1)])
def test_an_empty_or_over_long_instruction_is_refused_with_its_field(instruction: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_instruction(instruction)
    assert caught.value.field == "instruction"
    assert caught.value.remedy


@pytest.mark.parametrize(("count", "wanted"), [(0, DEFAULT_FAQ_ITEMS), (5, 5), (30, 30)])
def test_zero_items_mean_the_default(count: int, wanted: int) -> None:
    assert faq_items_wanted(count) == wanted


@pytest.mark.parametrize("count", [-1, 4, 31])
def test_too_few_or_too_many_items_are_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match="item_count"):
        faq_items_wanted(count)


@pytest.mark.parametrize(("origin", "engine"), [("model", "local"), ("extracted", "extractive")])
def test_a_claim_is_ascribed_to_what_wrote_it(origin: ClaimOrigin, engine: str) -> None:
    assert engine_of(Claim("A claim.", (), origin), "local") == engine
