"""Loads a service's SQL: named, parameterised statements (`-- name: get_task`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString, cast

NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


class Queries(Mapping[str, LiteralString]):
    """The statements by name; `queries["get_task"]` raises KeyError for a name the file does not have.

    Raises ValueError for a file that gives a name twice.
    """

    def __init__(self, path: Path) -> None:
        pieces = NAME.split(path.read_text(encoding="utf-8"))
        names = pieces[1::2]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{path}: {twice} stands twice")
        # The file ships with the program, so its text is as trusted as a literal in a module.
        self._statements = {
            name: cast(LiteralString, text.strip()) for name, text in zip(pieces[1::2], pieces[2::2], strict=True)
        }

    def __getitem__(self, name: str) -> LiteralString:
        return self._statements[name]

    def __iter__(self):  # type: ignore[no-untyped-def]  # Mapping's own signature
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def load_queries(module_file: str) -> Queries:
    """`queries.sql` beside the module that asks, or in a package of repositories the file of its own name."""
    own = Path(module_file).with_suffix(".sql")
    return Queries(own if own.exists() else own.with_name("queries.sql"))
