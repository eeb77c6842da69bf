from __future__ import annotations

from collections.abc import Callable

from morningai.evidence.model import Claim, Passage
from morningai.evidence.prompt_passages import numbered_passages, select_passages
from morningai.evidence.quotes import resolve_quote
from morningai.llm import estimate_tokens

Make = Callable[..., Passage]


def test_the_cited_lines_come_first_as_a_window(make_passage: Make) -> None:
    long = make_passage("a.md", "\n".join(f"This is line number {number}" for number in range(1, 101)), start_line=11)
    evidence = resolve_quote("This is line number 50", [long])
    assert evidence is not None
    claim = Claim("Fifty.", (evidence,), "extracted")
    first, *_ = select_passages([make_passage("b.md", "Something else entirely."), long], [claim], budget_tokens=500)
    assert (first.path, first.start_line, first.end_line) == ("a.md", 54, 66)
    assert first.text.split("\n")[6] == "This is line number 50"


def test_the_passages_stay_within_the_budget(make_passage: Make) -> None:
    passages = [make_passage(f"{number}.md", f"word{number} " * 60) for number in range(50)]
    chosen = select_passages(passages, [], budget_tokens=1000)
    assert 2 <= len(chosen) < 50
    assert estimate_tokens(numbered_passages(chosen)) <= 1020


def test_passages_are_numbered_with_their_place(make_passage: Make) -> None:
    text = numbered_passages([make_passage("a.md", "One line.", symbol="Title", start_line=7)])
    assert text == "[1] a.md:7-7 Title\nOne line.\n"
