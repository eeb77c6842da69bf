"""Python source as a syntax tree, whatever a repository or a model wrote."""

from __future__ import annotations

import ast
import warnings

_BYTE_ORDER_MARK = "\ufeff"


def parse(source: str) -> ast.Module | None:
    """None for what Python does not take: wrong syntax, a NUL character, or deeper nesting than its parser bears."""
    try:
        return parse_or_raise(source)
    except SyntaxError:
        return None


def parse_or_raise(source: str) -> ast.Module:
    """Raises SyntaxError alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source.removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "it is nested too deeply") from error
