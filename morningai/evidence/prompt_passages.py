"""What of the passages goes into a prompt: the cited and best ones, cut to whole lines, within a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from morningai.evidence.model import Claim, Evidence, Passage
from morningai.llm.tokens import estimate_tokens

_LINES_AROUND = 6
_LONGEST_WINDOW_LINES = 24


def select_passages(passages: Sequence[Passage], claims: Iterable[Claim], *, budget_tokens: int) -> tuple[Passage, ...]:
    """Windows around what the claims quote, then the openings of the best passages, until the budget is used."""
    cited = [evidence for claim in claims for evidence in claim.evidence]
    windows = [window for evidence in cited if (window := _window_around(evidence, passages))]
    windows.extend(_lines(passage, 0, _LONGEST_WINDOW_LINES) for passage in passages)
    chosen: list[Passage] = []
    left = budget_tokens
    for window in windows:
        if any(_covers(other, window) for other in chosen):
            continue
        cost = estimate_tokens(numbered(len(chosen) + 1, window))
        if cost <= left:
            chosen.append(window)
            left -= cost
        if left < 40:
            break
    return tuple(chosen)


def numbered(number: int, passage: Passage) -> str:
    heading = f" {passage.symbol}" if passage.symbol else ""
    return f"[{number}] {passage.path}:{passage.start_line}-{passage.end_line}{heading}\n{passage.text}\n"


def numbered_passages(passages: Sequence[Passage]) -> str:
    return "\n".join(numbered(number, passage) for number, passage in enumerate(passages, start=1))


def _window_around(evidence: Evidence, passages: Sequence[Passage]) -> Passage | None:
    for passage in passages:
        if passage.path == evidence.path and passage.start_line <= evidence.start_line <= passage.end_line:
            first = max(0, evidence.start_line - passage.start_line - _LINES_AROUND)
            last = min(evidence.end_line - passage.start_line + _LINES_AROUND + 1, first + _LONGEST_WINDOW_LINES)
            return _lines(passage, first, last)
    return None


def _lines(passage: Passage, first: int, last: int) -> Passage:
    lines = passage.text.split("\n")[first:last]
    start = passage.start_line + first
    return replace(passage, start_line=start, end_line=start + len(lines) - 1, text="\n".join(lines))


def _covers(outer: Passage, inner: Passage) -> bool:
    """Mostly the same lines of the same file."""
    if outer.path != inner.path:
        return False
    shared = min(outer.end_line, inner.end_line) - max(outer.start_line, inner.start_line) + 1
    return shared * 2 > inner.end_line - inner.start_line + 1
