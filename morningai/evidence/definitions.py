"""Code and settings split into statements: definitions with their first sentence, comments, and single lines.

Languages are told apart by their keywords, not by parsers, so a file of an unknown language still gives something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from morningai.evidence.model import Passage
from morningai.evidence.prose import sentence_spans
from morningai.evidence.statements import Statement, without_markup

_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|open|sealed|override|declare|partial|readonly"
    r"|pub(?:\([^)]*\))?)\s+)*"
)
_METHOD_MODIFIERS = (
    r"(?:public|private|protected|internal)\s+"
    r"(?:(?:static|async|override|virtual|sealed|final|abstract|synchronized|partial|new|readonly)\s+)*"
)
_DEFINITION = re.compile(
    rf"""^[ \t]*{_MODIFIERS}(?:
        (?:def|class|interface|enum|trait|struct|record|object|protocol|module|mod|fn|fun|type|service|message|rpc)\s+(?P<name>[A-Za-z_$][\w$.]*[?!]?)
      | (?:[\w$]+\.)+(?P<member>[A-Za-z_$][\w$]*)\s*=\s*(?:async\s+)?function\b
      | {_METHOD_MODIFIERS}[\w<>\[\],.?]+(?:<[^>()]*>)?\s+(?P<method>[A-Za-z_]\w*)\s*(?:<[^>()]*>)?\(
      | function\s*\*?\s*(?P<function>[A-Za-z_$][\w$]*)
      | func\s+(?:\([^)]*\)\s*)?(?P<go>\w+)
      | (?:const|let|var)\s+(?P<arrow>[A-Za-z_$][\w$]*)\s*(?::[^=]+)?=\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*=>
    )""",
    re.VERBOSE,
)
_SQL_DEFINITION = re.compile(
    r"^\s*create\s+(?:or\s+replace\s+)?(?:unique\s+)?(?:table|view|function|index|policy|type|trigger|role|schema)\s+"
    r"(?:if\s+not\s+exists\s+)?\"?(?P<name>[\w.]+)",
    re.IGNORECASE,
)
_CONSTANT = re.compile(
    r"^(?:export\s+)?(?:const\s+|static\s+|final\s+)*(?P<name>[A-Z][A-Z0-9_]{2,})\s*(?::[^=]+)?=(?!=)"
)
_COMMENT = re.compile(r"^\s*(?:#(?![!\[]|include|define|if|endif|pragma)|///?!?|--|;|\*/\s*$|\*(?!/)|/\*[*!]?)\s?")
_DOCSTRING = re.compile(r"""^\s*[rRbBuU]?(?P<mark>\"\"\"|\'\'\')""")
_CODE_LINE = re.compile(r"[=({]|^\s*(?:return|raise|yield|await|throw|import|from|use|@)\b")
_NO_CODE = re.compile(r"^\s*(?:[)\]}>{]+[,;:]?|else:?|try:?|pass|finally:?|end|\"\"\"|''')\s*$")
_COMMENT_NOISE = re.compile(
    r"^(?:noqa|type:|pylint|pyright|isort|eslint|ruff|mypy|pragma|todo|fixme|copyright|spdx|-{3,}|={3,})", re.IGNORECASE
)
_LEGAL = re.compile(
    r"\bcopyright\b|\(c\) ?\d{4}|\blicensed under\b|^mit licensed|\ball rights reserved\b", re.IGNORECASE
)
_TAG_LINE = re.compile(r"@\w+|</?(?:summary|remarks|returns|param|typeparam|exception|value|example|code)\b[^>]*>\s*$")
_XML_TAG = re.compile(r"</?(?:summary|remarks|returns|para|c|code|value|b|i|p)\s*/?>")
_XML_REFERENCE = re.compile(r"<(?:see|seealso|paramref|typeparamref)\s+\w+=\"(?:\w:)?([^\"]+)\"\s*/?>")
_TITLE = re.compile(r"\s*[^\n]+\n[ \t]*([=~^\-])\1{2,}[ \t]*(?:\n|$)")
_MAX_SIGNATURE_LINES = 8
_MAX_COMMENT = 400


def code_statements(passage: Passage) -> Iterator[Statement]:
    """Definitions, documentation and code lines of one chunk, in order."""
    lines = passage.text.split("\n")
    offsets = line_offsets(lines)
    subject = passage.symbol if not passage.symbol.endswith((".py", ".ts", ".go")) else ""
    comment_start: int | None = None
    index = 0
    while index < len(lines):
        line = lines[index]
        if _COMMENT.match(line) and not _DOCSTRING.match(line):
            comment_start = index if comment_start is None else comment_start
            index += 1
            continue
        if comment_start is not None and _parts_comment_from_definition(lines, index):
            index += 1
            continue
        if name := _defined_name(line):
            subject = _qualified(name, passage.symbol)
            statements, index = _definition(passage, lines, offsets, index, subject, comment_start)
            yield from statements
        else:
            if comment_start is not None:
                yield from _comments(passage, lines, offsets, comment_start, index, subject)
            if _DOCSTRING.match(line):
                statements, index = _docstring(passage, lines, offsets, index, subject)
                yield from statements
            else:
                yield from _code_line(passage, line, offsets[index], subject)
                index += 1
        comment_start = None
    if comment_start is not None:
        yield from _comments(passage, lines, offsets, comment_start, index, subject)


def _parts_comment_from_definition(lines: list[str], index: int) -> bool:
    """Whether a blank line stands between a block comment and what it documents."""
    is_between = not lines[index].strip() and lines[index - 1].rstrip().endswith("*/")
    return is_between and index + 1 < len(lines) and bool(_defined_name(lines[index + 1]))


def line_offsets(lines: list[str]) -> list[int]:
    offsets = [0]
    for line in lines[:-1]:
        offsets.append(offsets[-1] + len(line) + 1)
    return offsets


def _defined_name(line: str) -> str:
    found = _DEFINITION.match(line) or _SQL_DEFINITION.match(line) or _CONSTANT.match(line)
    return next((name for name in found.groupdict().values() if name), "") if found else ""


def _qualified(name: str, symbol: str) -> str:
    if not symbol or symbol.rsplit(".", 1)[-1] == name:
        return symbol or name
    return f"{symbol}.{name}" if symbol.isidentifier() and symbol[:1].isupper() else name


def _definition(
    passage: Passage, lines: list[str], offsets: list[int], index: int, subject: str, comment_start: int | None
) -> tuple[list[Statement], int]:
    """The signature with the first sentence of its documentation, then the documentation's other sentences."""
    last = _signature_end(lines, index)
    following = last + 1
    if following < len(lines) and _DOCSTRING.match(lines[following]):
        prose, after = _docstring(passage, lines, offsets, following, subject)
        if prose:
            first = prose[0]
            head = Statement(
                "definition", passage, offsets[index] + _indent(lines[index]), first.end, first.text, subject
            )
            return [head, *prose[1:]], after
        following = after
    start, text = offsets[index] + _indent(lines[index]), ""
    above: list[Statement] = []
    if comment_start is not None:
        above = list(_comments(passage, lines, offsets, comment_start, index, subject))
        if above:
            start, text = above[0].start, above[0].text
    end = offsets[last] + len(lines[last].rstrip())
    return [Statement("definition", passage, start, end, text, subject), *above[1:]], following


def _signature_end(lines: list[str], index: int) -> int:
    depth = 0
    for position in range(index, min(index + _MAX_SIGNATURE_LINES, len(lines))):
        line = lines[position]
        depth += sum(line.count(mark) for mark in "([") - sum(line.count(mark) for mark in ")]")
        if depth <= 0:
            return position
    return index


def _docstring(
    passage: Passage, lines: list[str], offsets: list[int], index: int, subject: str
) -> tuple[list[Statement], int]:
    opening = _DOCSTRING.match(lines[index])
    assert opening is not None
    start = offsets[index] + opening.end()
    closing = passage.text.find(opening.group("mark"), start)
    end = closing if closing >= 0 else len(passage.text)
    after = passage.text.count("\n", 0, end) + 1
    return list(_paragraphs(passage, start, end, subject)), after


def _paragraphs(passage: Passage, start: int, end: int, subject: str) -> Iterator[Statement]:
    for block in re.finditer(r"(?:[^\n]*\S[^\n]*(?:\n|$))+", passage.text[start:end]):
        paragraph = block.group()
        if paragraph.lstrip().startswith((">>>", ".. ", "::", "- ``", "@", ":", "|")):
            continue
        if (
            re.match(r"\s{8,}\S", paragraph)
            and block.start() > 0
            and _is_literal(passage.text[start : start + block.start()])
        ):
            continue
        title = _TITLE.match(paragraph)
        for first, last in sentence_spans(paragraph, title.end() if title else 0):
            text = without_markup(paragraph[first:last])
            if 12 <= len(text) <= _MAX_COMMENT:
                begin = start + block.start()
                yield Statement("comment", passage, begin + first, begin + last, text, subject)


def _is_literal(before: str) -> bool:
    return before.rstrip().endswith("::")


def _comments(
    passage: Passage, lines: list[str], offsets: list[int], first: int, last: int, subject: str
) -> Iterator[Statement]:
    """Sentences of the comment lines first..last (exclusive), blank and tag lines apart."""
    run = first
    for index in range(first, last + 1):
        if index == last or not _is_comment_text(lines[index]):
            if run < index:
                yield from _comment_run(passage, lines, offsets, run, index, subject)
            run = index + 1


def _is_comment_text(line: str) -> bool:
    text = _comment_text(line).strip()
    return bool(text) and not _TAG_LINE.match(text)


def _comment_text(line: str) -> str:
    mark = _COMMENT.match(line)
    return line[mark.end() :].removesuffix("*/").rstrip() if mark else line


def _comment_run(
    passage: Passage, lines: list[str], offsets: list[int], first: int, last: int, subject: str
) -> Iterator[Statement]:
    """Over several lines the quote keeps its comment markers."""
    marks = [_COMMENT.match(line) for line in lines[first:last]]
    words = [_comment_text(line) for line in lines[first:last]]
    joined = "\n".join(words)
    joined_offsets = line_offsets(words)
    for start, end in sentence_spans(joined):
        text = _XML_TAG.sub("", _XML_REFERENCE.sub(r"`\1`", joined[start:end]))
        text = without_markup(text)
        if not 12 <= len(text) <= _MAX_COMMENT or _COMMENT_NOISE.match(text) or _LEGAL.search(text):
            continue
        begin, finish = (
            _back(position, words, joined_offsets, marks, offsets[first:last]) for position in (start, end)
        )
        yield Statement("comment", passage, begin, finish, text, subject)


def _back(
    position: int, words: list[str], joined_offsets: list[int], marks: list[re.Match[str] | None], offsets: list[int]
) -> int:
    row = max(number for number, offset in enumerate(joined_offsets) if offset <= position)
    mark = marks[row]
    return offsets[row] + (mark.end() if mark else 0) + min(position - joined_offsets[row], len(words[row]))


def _code_line(passage: Passage, line: str, offset: int, subject: str) -> Iterator[Statement]:
    text = line.strip()
    if 12 <= len(text) <= 160 and _CODE_LINE.search(line) and not _NO_CODE.match(line):
        start = offset + _indent(line)
        yield Statement("code", passage, start, start + len(text), text.replace("`", "'"), subject)


def setting_statements(passage: Passage) -> Iterator[Statement]:
    """Targets of a Makefile with their recipes, otherwise the lines of a settings file and their comments."""
    name = PurePosixPath(passage.path).name.lower()
    lines = passage.text.split("\n")
    offsets = line_offsets(lines)
    section = ""
    for index, line in enumerate(lines):
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text.strip("[]")
        if "makefile" in name or name == "justfile":
            yield from _target(passage, lines, offsets, index)
        elif _COMMENT.match(line):
            yield from _comments(passage, lines, offsets, index, index + 1, "")
        elif 12 <= len(text) <= 240 and not text.endswith(("[", "{")):
            start = offsets[index] + _indent(line)
            yield Statement("setting", passage, start, start + len(text), text.replace("`", "'").rstrip(","), section)


_TARGET = re.compile(r"^(?P<name>[\w./-]+)\s*:(?![=:])[^#\n]*(?:##?\s*(?P<help>.+))?$")


def _target(passage: Passage, lines: list[str], offsets: list[int], index: int) -> Iterator[Statement]:
    match = _TARGET.match(lines[index])
    if not match or match.group("name").startswith("."):
        return
    last = index
    while last + 1 < len(lines) and lines[last + 1].startswith(("\t", "    ")) and last - index < 4:
        last += 1
    recipe = "; ".join(line.strip().lstrip("@-") for line in lines[index + 1 : last + 1])
    text = match.group("help") or (f"it runs `{recipe}`" if recipe else lines[index].strip())
    end = offsets[last] + len(lines[last].rstrip())
    yield Statement("command", passage, offsets[index], end, text, match.group("name"))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
