from __future__ import annotations

import pytest
from pydantic import BaseModel

from morningai.llm.dialect import Structure
from morningai.llm.output import JsonOutput, MalformedOutput, TextOutput, strict_schema


class Part(BaseModel):
    default: int = 3


class Whole(BaseModel):
    title: str
    parts: list[Part] = []


WHOLE = JsonOutput(Whole)


@pytest.mark.parametrize(
    "answer",
    [
        '{"title": "a"}',
        '  \n{"title": "a"}\n',
        'Here it is:\n```json\n{"title": "a"}\n```\nDone.',
        'The answer is {"title": "a"}, I think.',
        '<think>{"title": 7}</think>\n{"title": "a"}',
    ],
    ids=["bare", "spaces", "fenced", "in_prose", "after_thinking"],
)
def test_the_object_is_found_in_what_models_write_around_it(answer: str) -> None:
    assert WHOLE.parse(answer) == Whole(title="a")


def test_a_wrong_object_is_described_by_field() -> None:
    with pytest.raises(MalformedOutput, match=r"title: Field required; parts\.0\.default: Input should be a valid"):
        WHOLE.parse('{"parts": [{"default": "x"}]}')


def test_what_was_answered_is_not_repeated_in_the_description() -> None:
    with pytest.raises(MalformedOutput) as malformed:
        WHOLE.parse('{"title": {"secret": "word"}}')

    assert "word" not in str(malformed.value)


def test_every_property_is_required_and_no_other_allowed() -> None:
    schema = strict_schema(Whole)

    assert schema["required"] == ["title", "parts"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Part"]["required"] == ["default"]  # type: ignore[index,call-overload]
    assert "default" not in schema["properties"]["parts"]  # type: ignore[index,call-overload,operator]


def test_the_schema_is_told_in_words_only_where_the_format_cannot_tell_it() -> None:
    assert WHOLE.instruction(Structure.JSON_SCHEMA) == ""
    assert '"parts"' in WHOLE.instruction(Structure.JSON_OBJECT)
    assert WHOLE.response_format(Structure.TEXT) is None


def test_thoughts_are_no_part_of_a_text() -> None:
    assert TextOutput().parse("<think>hm</think>Yes.") == "Yes."


def test_lines_that_only_repeat_a_tag_of_the_prompt_are_left_out() -> None:
    answer = "```python\n<files-12345678>\nx = 1\n</files-12345678>\n<other-12345678>\n```\n"

    assert TextOutput(("files-12345678",)).parse(answer) == "```python\nx = 1\n<other-12345678>\n```\n"


@pytest.mark.parametrize("answer", ["", " \n", "<think>hm</think>\n"])
def test_a_text_without_words_is_malformed(answer: str) -> None:
    with pytest.raises(MalformedOutput, match="empty"):
        TextOutput().parse(answer)
