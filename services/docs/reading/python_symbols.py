"""Sections of a Python file: one for each function and method, with its decorators and the comment above it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from services.docs.reading.sections import Section

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
SMALL_CLASS_LINES = 24


def python_sections(lines: Sequence[str]) -> list[Section] | None:
    """None for a file that this Python cannot parse, or whose line numbers it counts otherwise."""
    text = "\n".join(lines)
    if "\r" in text.replace("\r\n", "\n").rstrip("\r"):
        return None
    module = parse_python(text)
    return None if module is None else list(_sections(module.body, "", lines))


def parse_python(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def definitions(body: Sequence[ast.stmt]) -> Iterator[Definition]:
    """Functions and classes of a body, also those inside if, try and with."""
    for statement in body:
        if isinstance(statement, Definition):
            yield statement
        else:
            yield from definitions(_inner(statement))


def _inner(statement: ast.stmt) -> list[ast.stmt]:
    match statement:
        case ast.If() | ast.For() | ast.While():
            return [*statement.body, *statement.orelse]
        case ast.With():
            return statement.body
        case ast.Try():
            handled = [inner for handler in statement.handlers for inner in handler.body]
            return [*statement.body, *handled, *statement.orelse, *statement.finalbody]
        case _:
            return []


def _sections(body: Sequence[ast.stmt], outer: str, lines: Sequence[str]) -> Iterator[Section]:
    for definition in definitions(body):
        symbol = f"{outer}.{definition.name}" if outer else definition.name
        end_line = definition.end_lineno or definition.lineno
        start_line = _first_line(definition, lines)
        yield Section(start_line, symbol)
        if isinstance(definition, ast.ClassDef) and end_line - start_line >= SMALL_CLASS_LINES:
            yield from _sections(definition.body, symbol, lines)
        yield Section(end_line + 1, outer)


def _first_line(definition: Definition, lines: Sequence[str]) -> int:
    first = min([definition.lineno, *(decorator.lineno for decorator in definition.decorator_list)])
    indent = lines[first - 1][: definition.col_offset]
    while first > 1 and lines[first - 2].startswith(f"{indent}#"):
        first -= 1
    return first
