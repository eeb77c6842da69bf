"""Facts of Python files: runnable packages, packages with their docstring, routes and commands."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from services.docs.domain import FactKind, FileFact
from services.docs.reading.python_symbols import parse_python
from services.docs.reading.quotes import fact_of

LONGEST_DOCSTRING_LINES = 3
LONGEST_DECORATION_LINES = 8
_METHODS = frozenset(("get", "post", "put", "patch", "delete", "head", "options"))
_IMPORT_ROOTS = frozenset(("src", "lib", "python"))


def python_facts(path: str, lines: Sequence[str]) -> Iterator[FileFact]:
    module = parse_python("\n".join(lines))
    if module is None:
        return
    yield from _package_fact(path, module, lines)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _decorated_facts(node, lines)
        elif isinstance(node, ast.Call):
            yield from _parser_fact(node, lines)


def _package_fact(path: str, module: ast.Module, lines: Sequence[str]) -> Iterator[FileFact]:
    kinds: dict[str, FactKind] = {"__main__.py": "service", "__init__.py": "module"}
    location = PurePosixPath(path)
    kind, package = kinds.get(location.name), _package_name(location.parent)
    if kind is None or not package or not module.body:
        return
    docstring = _docstring_lines(module, lines)
    if docstring is not None:
        yield fact_of(kind, package, lines, *docstring)
    elif kind == "service":
        yield fact_of(kind, package, lines, module.body[0].lineno, module.body[0].end_lineno or 1)


def _package_name(folder: PurePosixPath) -> str:
    parts = folder.parts[1:] if folder.parts and folder.parts[0] in _IMPORT_ROOTS else folder.parts
    return ".".join(parts)


def _docstring_lines(module: ast.Module, lines: Sequence[str]) -> tuple[int, int] | None:
    """The lines of the docstring's first paragraph, at most three."""
    first = module.body[0]
    if ast.get_docstring(module) is None:
        return None
    start_line, last_line = first.lineno, first.end_lineno or first.lineno
    end_line = start_line
    while end_line < min(last_line, start_line + LONGEST_DOCSTRING_LINES - 1) and lines[end_line].strip(" \t\r\"'"):
        end_line += 1
    return start_line, end_line


def _decorated_facts(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: Sequence[str]) -> Iterator[FileFact]:
    for decorator in function.decorator_list:
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            continue
        for kind, name in _names_of(decorator.func.attr, decorator, function.name):
            yield fact_of(kind, name, lines, decorator.lineno, _last_line(decorator, function))


def _last_line(decorator: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The line of `def`; where many decorators stand before it, the decorator's own last line."""
    is_near = function.lineno - decorator.lineno < LONGEST_DECORATION_LINES
    return function.lineno if is_near else decorator.end_lineno or decorator.lineno


def _names_of(attribute: str, call: ast.Call, function_name: str) -> Iterator[tuple[FactKind, str]]:
    first = _first_text(call)
    if attribute in _METHODS and first.startswith("/"):
        yield "route", f"{attribute.upper()} {first}"
    elif attribute in {"route", "websocket"} and first.startswith("/"):
        methods = _route_methods(call) if attribute == "route" else ["WEBSOCKET"]
        yield from (("route", f"{method} {first}") for method in methods)
    elif attribute == "command":
        yield "command", first or function_name.rstrip("_").replace("_", "-")


def _route_methods(call: ast.Call) -> list[str]:
    for keyword in call.keywords:
        if keyword.arg == "methods" and isinstance(keyword.value, ast.List | ast.Tuple | ast.Set):
            return [str(item.value) for item in keyword.value.elts if isinstance(item, ast.Constant)]
    return ["GET"]


def _parser_fact(call: ast.Call, lines: Sequence[str]) -> Iterator[FileFact]:
    """`parser.add_parser("name", help="…")` of argparse."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "add_parser" and _first_text(call):
        yield fact_of("command", _first_text(call), lines, call.lineno, call.end_lineno or call.lineno)


def _first_text(call: ast.Call) -> str:
    if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
        return call.args[0].value
    return ""
