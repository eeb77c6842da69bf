"""Sections of everything that is neither Python nor prose: whole top-level blocks, packed into windows.

A block begins at a line without indentation that follows a blank one or declares a name, together with the comment
above it; a window is called by the names that its lines declare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.docs.reading.sections import LONGEST_SECTION, WINDOW_LINES, Section

MOST_NAMES = 4
_MODIFIERS = (
    r"(?:(?:export|default|declare|abstract|public|private|protected|internal|static|final|sealed|async|unsafe|extern|"
    r"inline|virtual|override|open|data|pub(?:\([a-z]+\))?)\s+)*"
)
_DECLARATIONS = (
    re.compile(rf"{_MODIFIERS}(?:function\*?|class|interface|enum|struct|trait|impl(?:<[^>]*>)?|type|namespace|module|"
               rf"object|record|message|service|rpc|union|fn|fun|func(?:\s*\([^)]*\))?|def)\s+([A-Za-z_$][\w$.]*)"),
    re.compile(r"(?:[\w$]+\.)+([A-Za-z_$][\w$]*)\s*=\s*(?:async\s+)?function\b"),
    re.compile(rf"{_MODIFIERS}(?:const|let|var)\s+([A-Za-z_$][\w$]*)"),
    re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+)?(?:TABLE|VIEW|MATERIALIZED\s+VIEW|FUNCTION|PROCEDURE|INDEX|"
               r"TYPE|TRIGGER|POLICY|ROLE|SCHEMA)\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.\"]+)", re.IGNORECASE),
    re.compile(r"--\s*name:\s*(\w+)"),
    re.compile(r"(?:resource|data|variable|module|provider)\s+\"([^\"]+)\""),
    re.compile(r"\[{1,2}([^\]]+)\]{1,2}\s*\r?$"),
    re.compile(r"FROM\s+\S+\s+AS\s+(\S+)", re.IGNORECASE),
    re.compile(r"([A-Za-z_][\w.-]*)\s*:(?!=)"),
    re.compile(r"([A-Za-z_][\w-]*)\s*\(\)\s*\{"),
)  # fmt: skip

_COMMENT = re.compile(r"\s*(?://|#|--|/?\*|@|\[\w+)|.*\*/\s*$")


def block_sections(lines: Sequence[str]) -> list[Section]:
    starts = _packed([1, *_block_starts(lines)], len(lines))
    ends = [start - 1 for start in starts[1:]] + [len(lines)]
    return [
        Section(start, _names(lines[start - 1 : end]) or f"lines {start}-{end}")
        for start, end in zip(starts, ends, strict=True)
    ]


def _block_starts(lines: Sequence[str]) -> list[int]:
    return [number for number in range(2, len(lines) + 1) if _is_outer(lines[number - 1]) and _begins(lines, number)]


def _begins(lines: Sequence[str], number: int) -> bool:
    """Whether a block begins at an outer line; a declaration is not parted from the comment above it."""
    declared = _declared(lines[number - 1])
    if lines[number - 2].strip():
        return bool(declared) and not _COMMENT.match(lines[number - 2])
    return not (declared and number > 2 and lines[number - 3].rstrip().endswith("*/"))


def _is_outer(line: str) -> bool:
    return bool(line.strip()) and line[0] not in " \t})]"


def _packed(starts: Sequence[int], last_line: int) -> list[int]:
    """Of the block starts those that make windows of about 40 lines."""
    kept = [starts[0]]
    for start, following in zip(starts, [*starts[1:], last_line + 1], strict=True):
        if following - kept[-1] > WINDOW_LINES and start > kept[-1]:
            kept.append(start)
    return kept


def _declared(line: str) -> str:
    found = next(filter(None, (pattern.match(line) for pattern in _DECLARATIONS)), None)
    return found[1].strip('"') if found else ""


def _names(lines: Sequence[str]) -> str:
    """The first names declared at the left margin; where there are none, the first ones declared deeper."""
    outer = [name for line in lines if _is_outer(line) and (name := _declared(line))]
    found = outer or [name for line in lines[:LONGEST_SECTION] if (name := _declared(line.strip()))]
    return ", ".join(list(dict.fromkeys(found))[:MOST_NAMES])
