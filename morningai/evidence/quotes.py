"""Quotes are resolved here: what a model says it read is looked up in what was read.

Invariant: resolved evidence carries the file's own text with a tight line range, whatever the wording that led to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from morningai.evidence.model import Evidence, Passage

SHORTEST_QUOTE = 12
_LINE_MARKER = re.compile(r"(?m)^[ \t]*(?:(?:[-+>#|•]|\*(?!\*)|//+|--|\d{1,3}[.)])[ \t]*)+")
_DROPPED = frozenset("*_`|\"'“”‘’«»~\\")
_WRAPPING = " \t\r\n\"'`“”‘’«»…"
_TRAILING = ".,;:…"
_LINK = re.compile(r"\[([^\]\n]*)\]\([^)\n]*\)")


def resolve_quote(quote: str, passages: Sequence[Passage]) -> Evidence | None:
    """The place of `quote` in the first passage that holds it: exactly, else but for whitespace, case and markup.

    None when nothing holds it, or when it is too short to prove anything (12 characters; one common word).
    """
    wanted = quote.strip(_WRAPPING)
    if _is_too_short(wanted):
        return None
    for passage in passages:
        position = _find_words(passage.text, wanted)
        if position >= 0:
            return cite(passage, position, position + len(wanted))
    compact_wanted, _ = _compact(_LINK.sub(r"\1", wanted))
    compact_wanted = compact_wanted.rstrip(_TRAILING)
    if len(compact_wanted) < SHORTEST_QUOTE - 3:
        return None
    return next(filter(None, (_resolve_compact(compact_wanted, passage) for passage in passages)), None)


def cite(passage: Passage, start: int, end: int) -> Evidence:
    """Evidence for the characters start..end of a passage."""
    first_line = passage.start_line + passage.text.count("\n", 0, start)
    return Evidence(
        path=passage.path,
        commit=passage.commit,
        blob_hash=passage.blob_hash,
        start_line=first_line,
        end_line=first_line + passage.text.count("\n", start, end),
        quote=passage.text[start:end],
    )


def check_evidence(evidence: Evidence, lines: Sequence[str]) -> bool:
    """Whether the quote stands in its line range; `lines` are all lines of the file, without line ends."""
    if not evidence.quote.strip() or not 1 <= evidence.start_line <= evidence.end_line <= len(lines):
        return False
    return evidence.quote in "\n".join(lines[evidence.start_line - 1 : evidence.end_line])


def _is_too_short(wanted: str) -> bool:
    return len(wanted) < SHORTEST_QUOTE or wanted.isalpha()


def _find_words(text: str, wanted: str) -> int:
    position = text.find(wanted)
    while position >= 0 and not _at_word_edges(text, position, position + len(wanted)):
        position = text.find(wanted, position + 1)
    return position


def _at_word_edges(text: str, start: int, end: int) -> bool:
    cuts_front = start > 0 and text[start - 1].isalnum() and text[start].isalnum()
    cuts_back = end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
    return not (cuts_front or cuts_back)


def _resolve_compact(wanted: str, passage: Passage) -> Evidence | None:
    compact, offsets = _compact(passage.text)
    position = compact.find(wanted)
    while position >= 0:
        start, end = offsets[position], offsets[position + len(wanted) - 1] + 1
        if _at_word_edges(passage.text, start, end):
            return cite(passage, start, end)
        position = compact.find(wanted, position + 1)
    return None


def _compact(text: str) -> tuple[str, list[int]]:
    """The text without whitespace, line markers, markup and case, and for each kept character its offset."""
    skipped = {index for match in _LINE_MARKER.finditer(text) for index in range(*match.span())}
    for match in _LINK.finditer(text):
        skipped.update((match.start(), *range(match.end(1), match.end())))
    kept: list[str] = []
    offsets: list[int] = []
    for index, character in enumerate(text):
        if index in skipped or character in _DROPPED or character.isspace():
            continue
        lowered = character.lower()
        if len(lowered) == 1:
            kept.append(lowered)
            offsets.append(index)
    return "".join(kept), offsets
