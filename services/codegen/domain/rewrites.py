"""Whole functions in a model's reply, put in the place of those of the same name: the format for small models."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.codegen.domain.policy import is_protected
from services.codegen.domain.python import parse, parse_or_raise
from services.codegen.errors import EditRefused

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_STATEMENT_STARTS = ("def ", "async def ", "class ", "import ", "from ")
_FENCED = re.compile(r"^[ \t]*```[\w.+-]*[^\n]*\n(?P<code>.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
# Small models repeat the tags that mark data in their prompt.
_DATA_TAG = re.compile(r"^[ \t]*</?[a-z_]+-[0-9a-f]{8}>[ \t]*\n?", re.MULTILINE)
_UNCLOSED = re.compile(r"^[ \t]*```[\w.+-]*[^\n]*\n(?P<code>.*)\Z", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Symbol:
    """A definition and the lines it takes, decorators included; 1-based, both ends inclusive."""

    name: str
    """Qualified: `Class.method`."""
    start_line: int
    body_line: int
    """The line of `def` or `class` itself."""
    end_line: int
    indent: int


def find_symbols(source: str) -> tuple[Symbol, ...]:
    """Functions, classes and methods of a module; none when it cannot be parsed."""
    tree = parse(source)
    return () if tree is None else tuple(_symbols(tree.body, ""))


def apply_rewrites(reply: str, files: Mapping[str, str], shown: Sequence[str]) -> dict[str, str]:
    """The new text of each file changed. Definitions are looked for in the files shown, tests left out.

    Raises EditRefused when the reply has no Python that can be parsed, or nothing in it can be placed.
    """
    targets = {path: files[path] for path in shown if path.endswith(".py") and path in files and not is_protected(path)}
    modules = [part for code in code_blocks(reply) for part in _parse(code)]
    definitions = [(code, node) for code, tree in modules for node in tree.body if isinstance(node, _DEFINITIONS)]
    changed: dict[str, str] = {}
    for code, node in definitions:
        for name, lines, decorated in _parts(code, node, {**targets, **changed}):
            path = _only_place(name, {**targets, **changed})
            if path is not None:
                changed[path] = _replace_symbol({**targets, **changed}[path], name, lines, decorated=decorated)
    changed = {path: text for path, text in changed.items() if text != files[path]}
    if not changed:
        raise EditRefused(_nothing_placed(definitions, targets))
    if len(changed) == 1:
        path, text = next(iter(changed.items()))
        changed[path] = _with_imports(text, [(code, node) for code, tree in modules for node in _imports(tree)])
    return changed


def code_blocks(reply: str) -> list[str]:
    """Fenced blocks; a last one that is not closed; the whole reply when it has no fence."""
    reply = _DATA_TAG.sub("", reply)
    blocks = [match["code"] for match in _FENCED.finditer(reply)]
    if not blocks and (unclosed := _UNCLOSED.search(reply)):
        blocks = [unclosed["code"]]
    return [textwrap.dedent(block) for block in blocks or [reply]]


def _symbols(body: Sequence[ast.stmt], prefix: str) -> Iterator[Symbol]:
    for node in body:
        if isinstance(node, _DEFINITIONS):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            name = f"{prefix}{node.name}"
            yield Symbol(name, start, node.lineno, node.end_lineno or node.lineno, node.col_offset)
            if isinstance(node, ast.ClassDef):
                yield from _symbols(node.body, f"{name}.")


def _parse(code: str) -> list[tuple[str, ast.Module]]:
    """The block as it is; else those of its top-level statements that are whole, when one of them is a definition."""
    try:
        return [(code, parse_or_raise(code))]
    except SyntaxError as error:
        parts = [(part, tree) for part in _statements(code) if (tree := parse(part)) is not None]
        if any(isinstance(node, _DEFINITIONS) for _, tree in parts for node in tree.body):
            return parts
        raise EditRefused(f"The code of the reply is not valid Python: {error}.") from error


def _statements(code: str) -> Iterator[str]:
    """Text from each line that begins a definition or import to the next line at the margin."""
    lines = code.split("\n")
    margins = [number for number, line in enumerate(lines) if line[:1] not in ("", " ", "\t", ")", "]", "}", "#")]
    for start, end in zip(margins, [*margins[1:], len(lines)], strict=True):
        if lines[start].startswith(_STATEMENT_STARTS):
            yield "\n".join(lines[start:end])


def _parts(code: str, node: Definition, targets: Mapping[str, str]) -> Iterator[tuple[str, list[str], bool]]:
    """The definition, or for a class that is shown only in part its methods one by one."""
    if isinstance(node, ast.ClassDef):
        known = {symbol.name for text in targets.values() for symbol in find_symbols(text)}
        methods = {f"{node.name}.{child.name}": child for child in node.body if isinstance(child, _DEFINITIONS)}
        if not {name for name in known if name.startswith(f"{node.name}.")} <= methods.keys():
            for name, method in methods.items():
                yield name, _lines_of(code, method), bool(method.decorator_list)
            return
    yield node.name, _lines_of(code, node), bool(node.decorator_list)


def _lines_of(code: str, node: Definition) -> list[str]:
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = code.split("\n")[start - 1 : node.end_lineno]
    return textwrap.dedent("\n".join(lines)).split("\n")


def _only_place(name: str, targets: Mapping[str, str]) -> str | None:
    places = [(path, symbol) for path, text in targets.items() for symbol in _named(name, text)]
    if len(places) > 1:
        where = ", ".join(f"{symbol.name} in {path}" for path, symbol in places)
        raise EditRefused(f"{name} is defined more than once ({where}): write a method inside its class.")
    return places[0][0] if places else None


def _named(name: str, text: str) -> list[Symbol]:
    symbols = find_symbols(text)
    exact = [symbol for symbol in symbols if symbol.name == name]
    return exact or [symbol for symbol in symbols if "." not in name and symbol.name.endswith(f".{name}")]


def _replace_symbol(text: str, name: str, replacement: list[str], *, decorated: bool) -> str:
    symbol = _named(name, text)[0]
    start = symbol.start_line if decorated else symbol.body_line
    lines = text.split("\n")
    margin = lines[symbol.body_line - 1][: symbol.indent]
    new = textwrap.indent("\n".join(replacement), margin).split("\n")
    return "\n".join([*lines[: start - 1], *new, *lines[symbol.end_line :]])


def _imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def _with_imports(text: str, wanted: Sequence[tuple[str, ast.stmt]]) -> str:
    tree = parse(text)
    if tree is None:
        return text
    present = {ast.unparse(node) for node in tree.body}
    missing = dict.fromkeys(ast.unparse(node) for _, node in wanted if ast.unparse(node) not in present)
    needed = [line for line in missing if _is_used(line, text)]
    if not needed:
        return text
    lines = text.split("\n")
    place = _import_line(tree)
    return "\n".join([*lines[:place], *needed, *lines[place:]])


def _is_used(statement: str, text: str) -> bool:
    """True when a name it binds is used and not already bound by an import of the module."""
    (node,) = ast.parse(statement).body
    assert isinstance(node, ast.Import | ast.ImportFrom)
    names = {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    tree = ast.parse(text)
    bound = {(alias.asname or alias.name).partition(".")[0] for known in _imports(tree) for alias in known.names}
    defined = {child.name for child in tree.body if isinstance(child, _DEFINITIONS)}
    used = {child.id for child in ast.walk(tree) if isinstance(child, ast.Name)}
    return bool((names - bound - defined) & used)


def _import_line(tree: ast.Module) -> int:
    """The line after which an import may stand: after the last one, else after the docstring."""
    imports = [node.end_lineno or 0 for node in _imports(tree)]
    if imports:
        return max(imports)
    first = tree.body[0] if tree.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.end_lineno or 0
    return 0


def _nothing_placed(definitions: Sequence[tuple[str, Definition]], targets: Mapping[str, str]) -> str:
    if not definitions:
        return "The reply has no function: write the complete corrected function in one ```python block."
    names = ", ".join(node.name for _, node in definitions)
    where = ", ".join(targets) or "the files shown"
    return (
        f"The reply changes nothing in {where} (it has: {names}). Find the line that causes the failure and change it."
    )
