"""Quotes: cut out of what was read, and checked against the file.

Invariant: evidence carries the file's own text with a tight line range.
"""

from __future__ import annotations

from collections.abc import Sequence

from morningai.evidence.model import Evidence, Passage


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
