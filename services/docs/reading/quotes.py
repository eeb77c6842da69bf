"""Makes facts out of line ranges, so that a quote is verbatim by construction."""

from __future__ import annotations

from collections.abc import Sequence

from services.docs.domain import FactKind, FileFact


def fact_of(kind: FactKind, name: str, lines: Sequence[str], start_line: int, end_line: int) -> FileFact:
    return FileFact(kind, name, start_line, end_line, "\n".join(lines[start_line - 1 : end_line]))


def with_comment_above(lines: Sequence[str], start_line: int, marker: str) -> int:
    """The first of the comment lines that stand directly above a line; the line itself without any."""
    while start_line > 1 and lines[start_line - 2].lstrip().startswith(marker):
        start_line -= 1
    return start_line
