"""Chooses the little of a repository that a small model should see: what failed, and the code that it points to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from morningai.llm import estimate_tokens
from services.codegen.domain.changes import Failure
from services.codegen.domain.policy import is_protected
from services.codegen.domain.python import parse
from services.codegen.domain.rewrites import Symbol, find_symbols

# Weights in the order of how directly a sign points at the code; only their order matters.
_IN_TRACEBACK, _NAMED_IN_INSTRUCTION, _USED_BY_TEST, _IMPORTED_BY_TEST = 10, 8, 5, 4
_MOST_FAILURES = 3
_MOST_FILES = 6
_FAILURE_CHARACTERS = 1_500
_LARGEST_FILE_CHARACTERS = 200_000
_SHARE_FOR_FAILURES = 0.35
_WORD = re.compile(r"[A-Za-z_][\w./-]*")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Context:
    failures: str
    files: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class _Signs:
    instruction: frozenset[str]
    tests: frozenset[str]
    """Identifiers in the failing tests' own source."""
    modules: frozenset[str]
    """Modules that files with failing tests import."""
    frames: Mapping[str, frozenset[str]]


def choose_context(
    files: Mapping[str, str], *, instruction: str, failures: Sequence[Failure], budget_tokens: int
) -> Context:
    """Texts within about `budget_tokens`; a file is shown whole when it fits, else by its most relevant symbols."""
    shown_failures = _failures_text(files, failures, int(budget_tokens * _SHARE_FOR_FAILURES))
    left = budget_tokens - estimate_tokens(shown_failures)
    signs = _signs(files, instruction, failures)
    parts: dict[str, str] = {}
    for path in _ranked(files, signs):
        text = _excerpt(files[path], _symbol_scorer(path, signs), left)
        if text:
            parts[path] = text
            left -= estimate_tokens(f"# {path}\n{text}")
        if len(parts) == _MOST_FILES or left <= 0:
            break
    return Context(shown_failures or "(none)", _labelled(parts), tuple(parts))


def _labelled(parts: Mapping[str, str]) -> str:
    """One file stands alone: small models repeat a label as if it were code."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return "\n\n".join(f"# {path}\n{text}" for path, text in parts.items())


def _signs(files: Mapping[str, str], instruction: str, failures: Sequence[Failure]) -> _Signs:
    tests = [_test_source(files, failure) for failure in failures]
    frames: dict[str, set[str]] = {}
    for failure in failures:
        for frame in failure.frames:
            frames.setdefault(frame.path, set()).add(frame.function)
    return _Signs(
        instruction=frozenset(_WORD.findall(instruction)),
        tests=frozenset(name for source in tests for name in _IDENTIFIER.findall(source)),
        modules=frozenset(name for failure in failures for name in _imports(files.get(failure.path, ""))),
        frames={path: frozenset(names) for path, names in frames.items()},
    )


def _ranked(files: Mapping[str, str], signs: _Signs) -> list[str]:
    code = [path for path, text in files.items() if not is_protected(path) and len(text) <= _LARGEST_FILE_CHARACTERS]
    scores = {path: _file_score(path, files[path], signs) for path in code}
    chosen = [path for path in code if scores[path] > 0] or [path for path in code if path.endswith(".py")]
    return sorted(chosen, key=lambda path: (-scores[path], len(files[path]), path))


def _file_score(path: str, text: str, signs: _Signs) -> int:
    pure = PurePosixPath(path)
    score = _IN_TRACEBACK if path in signs.frames else 0
    named = {path, pure.name} | ({pure.stem} if pure.suffix == ".py" else set())
    score += 0 if named.isdisjoint(signs.instruction) else _NAMED_IN_INSTRUCTION
    if pure.suffix != ".py":
        return score
    score += _IMPORTED_BY_TEST if _module_names(path) & signs.modules else 0
    scorer = _symbol_scorer(path, signs)
    return score + max((scorer(symbol) for symbol in find_symbols(text)), default=0)


@dataclass(frozen=True)
class _SymbolScorer:
    signs: _Signs
    frames: frozenset[str]

    def __call__(self, symbol: Symbol) -> int:
        name = symbol.name.rpartition(".")[2]
        score = _IN_TRACEBACK if name in self.frames else 0
        score += _NAMED_IN_INSTRUCTION if name in self.signs.instruction else 0
        return score + (_USED_BY_TEST if name in self.signs.tests and not name.startswith("__") else 0)


def _symbol_scorer(path: str, signs: _Signs) -> _SymbolScorer:
    return _SymbolScorer(signs, signs.frames.get(path, frozenset()))


def _excerpt(text: str, score: _SymbolScorer, budget_tokens: int) -> str:
    if estimate_tokens(text) <= budget_tokens:
        return text.rstrip()
    chosen: list[Symbol] = []
    for symbol in sorted(find_symbols(text), key=lambda symbol: (-score(symbol), symbol.start_line)):
        inside = any(outer.start_line <= symbol.start_line <= outer.end_line for outer in chosen)
        if score(symbol) > 0 and not inside and estimate_tokens(_joined(text, [*chosen, symbol])) <= budget_tokens:
            chosen.append(symbol)
    return _joined(text, chosen)


def _joined(text: str, symbols: Sequence[Symbol]) -> str:
    """The symbols in their order, each method under the line of its class."""
    lines = text.split("\n")
    classes = {symbol.name: symbol for symbol in find_symbols(text)}
    parts: list[str] = []
    for symbol in sorted(symbols, key=lambda symbol: symbol.start_line):
        owner = classes.get(symbol.name.rpartition(".")[0])
        if owner is not None and lines[owner.body_line - 1] not in parts:
            parts.append(lines[owner.body_line - 1])
        parts.append("\n".join(lines[symbol.start_line - 1 : symbol.end_line]))
    return "\n".join(parts)


def _failures_text(files: Mapping[str, str], failures: Sequence[Failure], budget_tokens: int) -> str:
    parts: list[str] = []
    for failure in failures[:_MOST_FAILURES]:
        source = _test_source(files, failure)
        part = f"{source}\n\n{failure.text[-_FAILURE_CHARACTERS:]}\nFAILED {failure.test_id}".strip()
        if parts and estimate_tokens("\n".join([*parts, part])) > budget_tokens:
            break
        parts.append(part)
    return "\n\n".join(parts)


def _test_source(files: Mapping[str, str], failure: Failure) -> str:
    name = ".".join(part.partition("[")[0] for part in failure.test_id.split("::")[1:])
    text = files.get(failure.path, "")
    for symbol in find_symbols(text):
        if symbol.name == name:
            return "\n".join(text.split("\n")[symbol.start_line - 1 : symbol.end_line])
    return "" if name else text[:_FAILURE_CHARACTERS]


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(parse(source) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_names(path: str) -> set[str]:
    parts = PurePosixPath(path).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return {".".join(parts[start:]) for start in range(len(parts))}
