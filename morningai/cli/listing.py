"""Lists as tables, and all their pages as one list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from morningai.cli.output import Output
from morningai.cli.safe_text import safe

T = TypeVar("T")

PAGE_SIZE = 100


def all_pages(fetch: Callable[[int, str], tuple[Sequence[T], str]], *, limit: int = sys.maxsize) -> list[T]:
    """`fetch` takes a page size and a token and gives a page and the next token, which is empty at the end."""
    found: list[T] = []
    token = ""
    while len(found) < limit:
        page, token = fetch(min(PAGE_SIZE, limit - len(found)), token)
        found += page
        if not token:
            break
    return found[:limit]


def show_listing(output: Output, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column is what other commands are given, so it is never shortened. Off a terminal nothing is."""
    if output.console.is_terminal:
        output.show(_table(columns, rows))
        return
    lines = [columns, *rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        output.line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=True, overflow="ignore" if number == 0 else "ellipsis")
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    return table
