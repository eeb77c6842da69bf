"""Splits a file into chunks: code by symbol, prose by heading, everything else by block.

Invariant: every line that is not blank lies in exactly one chunk, and a chunk's text is its lines verbatim.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.docs.domain import Chunk
from services.docs.reading.blocks import block_sections
from services.docs.reading.files import language_of, lines_of
from services.docs.reading.prose import markdown_sections, rst_sections
from services.docs.reading.python_symbols import python_sections
from services.docs.reading.sections import Section, spans_of


def chunk_file(path: str, text: str) -> list[Chunk]:
    """The chunks of a decoded file, in order."""
    lines = lines_of(text)
    return [
        Chunk(
            path=path,
            symbol=span.symbol,
            start_line=span.start_line,
            end_line=span.end_line,
            text="\n".join(lines[span.start_line - 1 : span.end_line]),
        )
        for span in spans_of(_sections_of(language_of(path), lines), lines)
    ]


def _sections_of(language: str, lines: Sequence[str]) -> list[Section]:
    match language:
        case "python":
            sections = python_sections(lines)
            return block_sections(lines) if sections is None else sections
        case "markdown":
            return markdown_sections(lines)
        case "rst":
            return rst_sections(lines)
        case "text":
            return []
        case _:
            return block_sections(lines)
