from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morningai.evidence.model import Passage
from morningai.evidence.quotes import check_evidence, resolve_quote

TEXT = """Only `docs` talks to git remotes: it gives codegen a bundle
and carries out **deliveries**.

- The relay publishes due rows; one is active at a time.
"""
PASSAGE = Passage("ARCHITECTURE.md", "Isolation", "c" * 40, "b" * 40, 10, 14, TEXT, 1.0)


def test_an_exact_quote_gets_its_own_line() -> None:
    evidence = resolve_quote("one is active at a time", [PASSAGE])
    assert evidence is not None
    assert (evidence.start_line, evidence.end_line, evidence.quote) == (13, 13, "one is active at a time")


def test_a_quote_over_a_line_break_keeps_the_break_of_the_file() -> None:
    evidence = resolve_quote("gives codegen a bundle and carries out", [PASSAGE])
    assert evidence is not None
    assert (evidence.start_line, evidence.end_line) == (10, 11)
    assert evidence.quote == "gives codegen a bundle\nand carries out"


def test_the_stored_quote_has_the_markup_of_the_file_not_the_wording_of_the_model() -> None:
    evidence = resolve_quote("only docs talks to git remotes", [PASSAGE])
    assert evidence is not None
    assert evidence.quote == "Only `docs` talks to git remotes"


def test_comment_markers_between_the_lines_do_not_hide_a_quote() -> None:
    passage = replace(PASSAGE, path="a.py", text="# The lease is the\n# only lease that counts\nx = 1\n")
    evidence = resolve_quote("The lease is the only lease that counts", [passage])
    assert evidence is not None
    assert evidence.quote == "The lease is the\n# only lease that counts"


def test_a_link_is_found_by_its_words() -> None:
    passage = replace(PASSAGE, text="Read [the guide](https://example.org/a) before you start.")
    evidence = resolve_quote("Read the guide before you start", [passage])
    assert evidence is not None
    assert evidence.quote.startswith("Read [the guide](https://example.org/a) before")


@pytest.mark.parametrize(
    "quote",
    [
        "",
        "   ",
        "a bundle",
        "deliveries",
        "independently",
        '"one is act"',
        "Docs is the only service that reaches remotes",
    ],
)
def test_what_is_too_short_or_a_paraphrase_is_not_found(quote: str) -> None:
    assert resolve_quote(quote, [PASSAGE]) is None


def test_a_quote_does_not_begin_or_end_inside_a_word() -> None:
    assert resolve_quote("ne is active at a tim", [PASSAGE]) is None


def test_the_first_passage_that_holds_the_quote_is_cited() -> None:
    other = replace(PASSAGE, path="docs/copy.md")
    evidence = resolve_quote("one is active at a time", [other, PASSAGE])
    assert evidence is not None
    assert evidence.path == "docs/copy.md"


@pytest.mark.parametrize(("start", "end"), [(0, 1), (14, 14), (13, 12), (13, 99)])
def test_evidence_outside_its_lines_does_not_hold(start: int, end: int) -> None:
    evidence = resolve_quote("one is active at a time", [PASSAGE])
    assert evidence is not None
    lines = [""] * 9 + TEXT.split("\n")
    assert check_evidence(evidence, lines)
    assert not check_evidence(replace(evidence, start_line=start, end_line=end), lines)


def test_one_changed_byte_in_a_quote_does_not_hold() -> None:
    evidence = resolve_quote("one is active at a time", [PASSAGE])
    assert evidence is not None
    assert not check_evidence(replace(evidence, quote="one is active at a tome"), [""] * 9 + TEXT.split("\n"))


@given(st.text(max_size=300), st.text(min_size=1, max_size=60), st.integers(1, 500))
def test_whatever_resolves_stands_in_the_lines_it_names(text: str, quote: str, first_line: int) -> None:
    passage = Passage("a.txt", "", "c" * 40, "b" * 40, first_line, first_line + text.count("\n"), text)
    evidence = resolve_quote(quote, [passage])
    lines = [""] * (first_line - 1) + text.split("\n")
    assert evidence is None or check_evidence(evidence, lines)


@given(st.lists(st.text(alphabet="abcde ", min_size=20, max_size=40), min_size=1, max_size=6), st.data())
def test_two_whole_lines_are_found_however_their_space_is_changed(lines: list[str], data: st.DataObject) -> None:
    text = "start here\n" + "\n".join(lines) + "\nend here"
    passage = Passage("a.txt", "", "c" * 40, "b" * 40, 1, text.count("\n") + 1, text)
    index = data.draw(st.integers(0, len(lines) - 1))
    quote = "  ".join(lines[index].split())
    found = resolve_quote(quote, [passage])
    assert found is not None or len(quote.replace(" ", "")) < 12 or quote.isalpha()
