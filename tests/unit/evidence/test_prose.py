from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from morningai.evidence.model import Passage
from morningai.evidence.prose import prose_statements, sentence_spans
from morningai.evidence.statements import Statement, readable, without_markup

Make = Callable[..., Passage]


def texts(passage: Passage, kind: str) -> list[str]:
    return [statement.text for statement in prose_statements(passage) if statement.kind == kind]


def only(passage: Passage) -> Statement:
    (statement,) = prose_statements(passage)
    return statement


def test_a_paragraph_is_split_at_its_sentences(make_passage: Make) -> None:
    passage = make_passage(
        "a.md", "The relay is\none loop. It publishes rows, e.g. Every due one. Then it waits again."
    )
    assert texts(passage, "sentence") == [
        "The relay is one loop.",
        "It publishes rows, e.g. Every due one.",
        "Then it waits again.",
    ]


def test_a_sentence_over_two_lines_cites_both(make_passage: Make) -> None:
    statement = only(make_passage("a.md", "The relay is one\nloop of its own.", start_line=5))
    assert (statement.evidence.start_line, statement.evidence.end_line) == (5, 6)
    assert statement.evidence.quote == "The relay is one\nloop of its own."


def test_a_list_item_names_its_subject(make_passage: Make) -> None:
    statement = only(make_passage("a.md", "- **relay**: publishes the rows that are due."))
    assert (statement.kind, statement.subject) == ("item", "relay")
    assert statement.evidence.quote == "**relay**: publishes the rows that are due."


def test_a_table_row_whose_sentence_names_it_is_not_named_twice(make_passage: Make) -> None:
    table = "| part | what it does |\n|---|---|\n| `relay` | The relay publishes the rows that are due. |"
    assert readable(only(make_passage("a.md", table))) == "The relay publishes the rows that are due."


def test_lines_after_a_prompt_are_commands_without_their_comments(make_passage: Make) -> None:
    statement = only(make_passage("a.md", "```console\n$ notes up    # in one terminal\n$ notes add shop\n```"))
    assert (statement.kind, statement.text) == ("command", "notes up; notes add shop")


def test_a_table_row_reads_with_the_names_of_its_columns(make_passage: Make) -> None:
    table = "| part | bus | starts with |\n|---|---|---|\n| embedded | child process | `morningai up` |"
    assert readable(only(make_passage("a.md", table))) == ("embedded: bus: child process; starts with: `morningai up`.")


def test_a_fenced_command_is_a_command_under_its_heading(make_passage: Make) -> None:
    passage = make_passage("README.md", "## Tests\n\n```sh\n$ make test\n```")
    assert readable(only(passage)) == "`README.md` shows under “Tests”: `make test`."


def test_output_below_a_prompt_is_not_quoted_as_command(make_passage: Make) -> None:
    passage = make_passage("a.rst", "Run\n---\n\n.. code-block:: none\n\n    $ pytest\n\n    === 3 passed ===\n")
    assert texts(passage, "command") == ["pytest"]


def test_program_text_in_a_fence_is_no_prose(make_passage: Make) -> None:
    assert list(prose_statements(make_passage("a.md", "```python\nvalue = compute_it(1)\n```"))) == []


def test_badges_comments_and_link_targets_are_no_statements(make_passage: Make) -> None:
    text = "[![build](https://x/y.svg)](https://x)\n\n<p align=center>hello there you</p>\n\n[guide]: https://example.org\n"
    assert list(prose_statements(make_passage("README.md", text))) == []


def test_markup_is_removed_and_code_stays() -> None:
    text = "The :class:`~flask.Flask` **object** uses [WSGI][w] and ``x[0]`` as in `OSError: [Errno 98]`."
    assert without_markup(text) == "The `flask.Flask` object uses WSGI and `x[0]` as in `OSError: [Errno 98]`."


@given(st.text(alphabet="ab. !?\n-*|#`>$ABC1:", max_size=400))
def test_every_statement_is_cut_from_the_passage(text: str) -> None:
    passage = Passage("a.md", "", "c" * 40, "b" * 40, 1, text.count("\n") + 1, text)
    for statement in prose_statements(passage):
        assert text[statement.start : statement.end] == statement.evidence.quote
        assert statement.evidence.quote.strip()


def test_the_last_sentence_needs_no_full_stop() -> None:
    assert [("A b c. D e f")[start:end] for start, end in sentence_spans("A b c. D e f")] == ["A b c. D e f"]
