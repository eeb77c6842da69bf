from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morningai.evidence.model import Evidence, Passage
from morningai.evidence.quotes import check_evidence, cite

TEXT = """Only `docs` talks to git remotes: it gives codegen a bundle
and carries out **deliveries**.

- The relay publishes due rows; one is active at a time.
"""
PASSAGE = Passage("ARCHITECTURE.md", "Isolation", "c" * 40, "b" * 40, 10, 14, TEXT, 1.0)
LINES = [""] * 9 + TEXT.split("\n")


def cited(words: str) -> Evidence:
    start = TEXT.index(words)
    return cite(PASSAGE, start, start + len(words))


def test_a_quote_gets_its_own_line() -> None:
    evidence = cited("one is active at a time")
    assert (evidence.start_line, evidence.end_line, evidence.quote) == (13, 13, "one is active at a time")


def test_a_quote_over_a_line_break_keeps_the_break_of_the_file() -> None:
    evidence = cited("gives codegen a bundle\nand carries out")
    assert (evidence.start_line, evidence.end_line) == (10, 11)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (14, 14), (13, 12), (13, 99)])
def test_evidence_outside_its_lines_does_not_hold(start: int, end: int) -> None:
    evidence = cited("one is active at a time")
    assert check_evidence(evidence, LINES)
    assert not check_evidence(replace(evidence, start_line=start, end_line=end), LINES)


def test_one_changed_byte_in_a_quote_does_not_hold() -> None:
    assert not check_evidence(replace(cited("one is active at a time"), quote="one is active at a tome"), LINES)


@given(st.text(min_size=1, max_size=300), st.integers(1, 500), st.data())
def test_whatever_is_cited_stands_in_the_lines_it_names(text: str, first_line: int, data: st.DataObject) -> None:
    passage = Passage("a.txt", "", "c" * 40, "b" * 40, first_line, first_line + text.count("\n"), text)
    start = data.draw(st.integers(0, len(text) - 1))
    evidence = cite(passage, start, data.draw(st.integers(start + 1, len(text))))
    lines = [""] * (first_line - 1) + text.split("\n")
    assert check_evidence(evidence, lines) == bool(evidence.quote.strip())
