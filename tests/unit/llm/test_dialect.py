from __future__ import annotations

import pytest

from morningai.llm.dialect import Dialect, Structure


@pytest.mark.parametrize(
    ("complaint", "adapted"),
    [
        ("use max_completion_tokens instead of max_tokens", Dialect(completion_limit=True)),
        ("unknown field stream_options", Dialect(usage_in_stream=False)),
        ("temperature must be 1", Dialect(temperature=False)),
        ("bad request", Dialect(structure=Structure.JSON_OBJECT)),
    ],
)
def test_what_the_server_complains_of_is_left_out(complaint: str, adapted: Dialect) -> None:
    assert Dialect().after_refusal(complaint, structured=True) == adapted


def test_a_plain_text_request_has_no_structure_to_leave_out() -> None:
    assert Dialect().after_refusal("bad request", structured=False) is None


def test_after_the_weakest_dialect_there_is_none() -> None:
    weakest = Dialect(Structure.TEXT, usage_in_stream=False, temperature=False, completion_limit=True)

    assert weakest.after_refusal("max_completion_tokens stream_options temperature", structured=True) is None
