"""Edits in a model's reply: SEARCH/REPLACE blocks, read leniently and applied strictly, all or none."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from heapq import nlargest

from services.codegen.domain.policy import check_path
from services.codegen.errors import EditRefused

_SEARCH = re.compile(r"^\s*<{5,9} ?SEARCH\b")
_DIVIDER = re.compile(r"^\s*={5,9}\s*$")
_REPLACE = re.compile(r"^\s*>{5,9} ?REPLACE\b")
_FILE_NAME = re.compile(
    r"^[\s#*`>-]*(?:(?:file|path)\s*:?\s*)?`?(?P<path>[\w.@+/-]*[\w+-]\.?[\w+-]*)`?[\s:*`]*$", re.IGNORECASE
)
_NAME_LINES_ABOVE = 3
_LONGEST_NAME_LINE = 300
# Comparing texts letter by letter takes long, so it is done only with those that share most words.
_COMPARED, _COMPARED_CHARACTERS = 10, 400
_WORD = re.compile(r"\w+")
_NEAREST_CONTEXT_LINES = 2


@dataclass(frozen=True)
class Edit:
    path: str
    """Empty when the reply names no file; then the text must be found in exactly one of the files shown."""
    search: str
    """Empty for a new file."""
    replace: str


def parse_edits(reply: str) -> tuple[Edit, ...]:
    """Every SEARCH/REPLACE block of the reply; raises EditRefused when one is not closed."""
    lines = reply.replace("\r\n", "\n").split("\n")
    edits: list[Edit] = []
    position, path = 0, ""
    while position < len(lines):
        if not _SEARCH.match(lines[position]):
            position += 1
            continue
        path = _file_name_above(lines, position) or path
        divider = _find(lines, position + 1, _DIVIDER, "=======")
        end = _find(lines, divider + 1, _REPLACE, ">>>>>>> REPLACE")
        edits.append(Edit(path, "\n".join(lines[position + 1 : divider]), "\n".join(lines[divider + 1 : end])))
        position = end + 1
    return tuple(edits)


def apply_edits(edits: Sequence[Edit], files: Mapping[str, str], shown: Sequence[str] = ()) -> dict[str, str]:
    """The new text of each file changed; raises EditRefused, with the nearest lines, unless every edit fits."""
    changed: dict[str, str] = {}
    for edit in edits:
        current = {**files, **changed}
        path = _place(edit, current, shown)
        changed[path] = _apply(edit, path, current.get(path))
    return {path: text for path, text in changed.items() if text != files.get(path)}


def replace_lines(text: str, search: str, replacement: str, *, path: str) -> str:
    """Replaces the one place where the lines of `search` stand: exactly, else but for white space around them."""
    lines, wanted = text.split("\n"), search.split("\n")
    for normalise in (str, str.rstrip, str.strip):
        places = _places(lines, wanted, normalise)
        if len(places) > 1:
            raise EditRefused(_ambiguous(path, lines, places))
        if places:
            start = places[0]
            new = _indented_like(lines[start : start + len(wanted)], wanted, replacement)
            return "\n".join([*lines[:start], *new, *lines[start + len(wanted) :]])
    raise EditRefused(_not_found(path, lines, wanted))


def _apply(edit: Edit, path: str, text: str | None) -> str:
    if not edit.search.strip():
        if text:
            raise EditRefused(f"{path} exists already: name the lines to replace in the SEARCH part.")
        return f"{edit.replace.rstrip()}\n"
    assert text is not None
    return replace_lines(text, edit.search.strip("\n"), edit.replace.strip("\n"), path=path)


def _place(edit: Edit, files: Mapping[str, str], shown: Sequence[str]) -> str:
    """The file named; one that is named wrongly, as small models do, gives way to the only one that has the text."""
    path = check_path(edit.path) if edit.path else ""
    if path in files or (path and not edit.search.strip()):
        return path
    found = _files_with(edit, files, shown)
    if len(found) == 1:
        return found[0]
    if path:
        raise EditRefused(f"There is no file {path}.")
    raise EditRefused("An edit names no file: write the file's path on the line above <<<<<<< SEARCH.")


def _files_with(edit: Edit, files: Mapping[str, str], shown: Sequence[str]) -> list[str]:
    if not edit.search.strip():
        return []
    wanted = edit.search.strip("\n").split("\n")
    return [path for path in shown if path in files and _places(files[path].split("\n"), wanted, str.strip)]


def _places(lines: Sequence[str], wanted: Sequence[str], normalise: type[str] | object) -> list[int]:
    assert callable(normalise)
    have, want = [normalise(line) for line in lines], [normalise(line) for line in wanted]
    return [start for start in range(len(have) - len(want) + 1) if have[start : start + len(want)] == want]


def _indented_like(found: Sequence[str], wanted: Sequence[str], replacement: str) -> list[str]:
    if not replacement:
        return []
    first = next((index for index, line in enumerate(wanted) if line.strip()), 0)
    missing = _indent(found[first]).removesuffix(_indent(wanted[first]))
    surplus = _indent(wanted[first]).removesuffix(_indent(found[first]))
    if missing:
        return textwrap.indent(replacement, missing).split("\n")
    return [line.removeprefix(surplus) for line in replacement.split("\n")]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _file_name_above(lines: Sequence[str], position: int) -> str:
    for line in reversed(lines[max(0, position - _NAME_LINES_ABOVE) : position]):
        if not line.strip() or line.strip().startswith("```"):
            continue
        if _REPLACE.match(line):
            return ""
        name = _FILE_NAME.match(line) if len(line) <= _LONGEST_NAME_LINE else None
        return name["path"] if name else ""
    return ""


def _find(lines: Sequence[str], start: int, pattern: re.Pattern[str], name: str) -> int:
    for position in range(start, len(lines)):
        if pattern.match(lines[position]):
            return position
    raise EditRefused(f"A SEARCH/REPLACE block has no line {name}.")


def _ambiguous(path: str, lines: Sequence[str], places: Sequence[int]) -> str:
    numbers = ", ".join(str(place + 1) for place in places)
    around = "\n".join(lines[max(0, places[0] - _NEAREST_CONTEXT_LINES) : places[0] + _NEAREST_CONTEXT_LINES + 1])
    return f"The SEARCH lines stand in {path} at lines {numbers}: add the lines around the right one. First:\n{around}"


def _not_found(path: str, lines: Sequence[str], wanted: Sequence[str]) -> str:
    words, sought = [_words(line) for line in lines], [_words(line) for line in wanted]
    starts = range(max(1, len(lines) - len(wanted) + 1))

    def likeness(start: int) -> int:
        return sum(len(have & want) for have, want in zip(words[start : start + len(wanted)], sought, strict=False))

    windows = {start: "\n".join(lines[start : start + len(wanted)]) for start in nlargest(_COMPARED, starts, likeness)}
    matcher = SequenceMatcher(b="\n".join(wanted)[:_COMPARED_CHARACTERS], autojunk=False)

    def ratio(start: int) -> float:
        matcher.set_seq1(windows[start][:_COMPARED_CHARACTERS])
        return matcher.ratio()

    best = max(windows, key=ratio)
    nearest = windows[best]
    return f"The SEARCH lines are not in {path}. The nearest lines are, from line {best + 1}:\n{nearest}"


def _words(line: str) -> frozenset[str]:
    return frozenset(_WORD.findall(line))
