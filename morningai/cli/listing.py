"""Lists as tables, and all their pages as one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from morningai.cli.safe_text import safe

T = TypeVar("T")

PAGE_SIZE = 100


def all_pages(fetch: Callable[[int, str], tuple[Sequence[T], str]], *, limit: int) -> list[T]:
    """`fetch` takes a page size and a token and gives a page and the next token, which is empty at the end."""
    found: list[T] = []
    token = ""
    while len(found) < limit:
        page, token = fetch(min(PAGE_SIZE, limit - len(found)), token)
        found += page
        if not token:
            break
    return found[:limit]


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    return table
