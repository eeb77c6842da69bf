"""Prose split into statements: sentences, list items, table rows and commands of Markdown and reStructuredText."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from morningai.evidence.model import Passage
from morningai.evidence.statements import Statement, StatementKind, without_markup

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")
_UNDERLINE = re.compile(r"^([=\-~^\"'*+#`.:_])\1{2,}\s*$")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*([\w+-]*)")
_ITEM = re.compile(r"^(\s*)([-*+•]|\d{1,3}[.)]|#\.)\s+(?=\S)")
_TABLE_RULE = re.compile(r"^\s*\|?[\s:|+=-]+\|?\s*$")
_CODE_DIRECTIVE = re.compile(r"^\s*\.\. +(?:code-block|code|sourcecode|prompt|parsed-literal)::")
_TEXT_DIRECTIVE = re.compile(r"^\s*\.\. +(?:note|warning|tip|hint|important|caution|admonition|seealso)::")
_SKIPPED = re.compile(r"^\s*(?:<[a-zA-Z/!]|!?\[!\[|\[[^\]]+\]:\s|\.\. |:[\w-]+:(?:\s|$)|={3,}|-{3,}$|\*{3,}$)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”)\]`*_]*\s+(?=[\"'“(\[`*_:]*(?:[A-Z0-9`]|\{[a-z]+\}`))")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|resp|no|fig|Mr|Ms|Dr)|\b[A-Z])\.[\"')\]]*\s+$", re.IGNORECASE
)
_TRAILING_COMMENT = re.compile(r"\s{2,}#\s.*$")
_PROMPT = re.compile(r"^\s*(?:\$|>|%|#)\s+")
_SHELL = re.compile(
    r"^(?:\$|>)?\s*(?:\.?\.?/|sudo |git |pip |pip3 |python |python3 |py |uv |uvx |npm |npx |yarn |pnpm |make\b|docker |"
    r"podman |cargo |go |kubectl |helm |brew |apt|curl |wget |export |cd |source |pytest|tox|nox|poetry |flask |django|"
    r"bundle |gem |mvn |gradle|dotnet |just |bash |sh |\. )"
)
_MAX_COMMAND_LINES = 6
_MAX_SENTENCE = 420


@dataclass(slots=True)
class _Block:
    kind: StatementKind
    start: int
    end: int
    header: str = ""
    heading: str = ""


@dataclass(slots=True)
class _Reader:
    """Walks the lines of one passage; offsets are positions in its text."""

    lines: list[str]
    offsets: list[int]
    heading: str
    is_markdown: bool
    blocks: list[_Block] = field(default_factory=list)
    index: int = 0

    def end_of(self, index: int) -> int:
        return self.offsets[index] + len(self.lines[index])

    def add(self, kind: StatementKind, first: int, last: int, header: str = "") -> None:
        self.blocks.append(_Block(kind, self.offsets[first], self.end_of(last), header, self.heading))

    def line(self, ahead: int = 0) -> str:
        position = self.index + ahead
        return self.lines[position] if position < len(self.lines) else ""


def prose_statements(passage: Passage) -> Iterator[Statement]:
    lines = passage.text.split("\n")
    offsets = [0]
    for line in lines[:-1]:
        offsets.append(offsets[-1] + len(line) + 1)
    reader = _Reader(
        lines, offsets, heading=_last_heading(passage.symbol), is_markdown=not passage.path.endswith(".rst")
    )
    while reader.index < len(lines):
        _read_block(reader)
    for block in reader.blocks:
        yield from _statements_of(block, passage)


def _last_heading(symbol: str) -> str:
    return without_markup(re.split(r"\s+[>›»/]\s+", symbol)[-1]) if symbol else ""


def _read_block(reader: _Reader) -> None:
    line = reader.line()
    stripped = line.strip()
    if not stripped or _is_heading(reader) or _is_code(reader):
        reader.index += 1
    elif stripped.startswith("|") and stripped.count("|") > 1:
        _read_table(reader)
    elif _SKIPPED.match(line) or _UNDERLINE.match(stripped):
        reader.index += 1
    else:
        _read_text(reader)


def _is_heading(reader: _Reader) -> bool:
    """Consumes up to the heading's last line but one."""
    line = reader.line()
    marked = _HEADING.match(line)
    if marked:
        reader.heading = without_markup(marked.group(1))
        return True
    below = reader.line(1).rstrip()
    if (
        line.strip()
        and not line.startswith((" ", "|"))
        and _UNDERLINE.match(below)
        and len(below) >= min(len(line.rstrip()), 4)
    ):
        reader.heading = without_markup(line)
        reader.index += 1
        return True
    return False


def _is_code(reader: _Reader) -> bool:
    """Consumes up to the code block's last line but one, and keeps it when it is a command."""
    line = reader.line()
    fence = _FENCE.match(line)
    if fence:
        return _skip_fence(reader, fence.group(1))
    if _is_hidden(line) or _CODE_DIRECTIVE.match(line):
        return _skip_indented(reader, first=reader.index + 1, floor=_indent(line), keep=not _is_hidden(line))
    if line.startswith("    ") and _follows_literal(reader):
        return _skip_indented(reader, first=reader.index, floor=_indent(line) - 1, keep=True)
    return False


def _skip_fence(reader: _Reader, mark: str) -> bool:
    first = last = reader.index + 1
    while last < len(reader.lines) and not reader.lines[last].strip().startswith(mark):
        last += 1
    _add_commands(reader, first, last)
    reader.index = min(last, len(reader.lines) - 1)
    return True


def _skip_indented(reader: _Reader, first: int, floor: int, keep: bool) -> bool:
    last = first
    while last < len(reader.lines) and (not reader.lines[last].strip() or _indent(reader.lines[last]) > floor):
        last += 1
    if keep:
        _add_commands(reader, first, last)
    reader.index = max(last - 1, reader.index)
    return True


def _is_hidden(line: str) -> bool:
    """A directive or comment of reStructuredText whose body is no prose."""
    return line.lstrip().startswith(".. ") and not _TEXT_DIRECTIVE.match(line) and not _CODE_DIRECTIVE.match(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _follows_literal(reader: _Reader) -> bool:
    """Whether an indented line is code: after `::`, or in Markdown after a blank line outside a list."""
    before = [line for line in reader.lines[: reader.index] if line.strip()]
    if not before or before[-1].rstrip().endswith("::"):
        return True
    outside = not _ITEM.match(before[-1]) and not before[-1].startswith(" ")
    return reader.is_markdown and not reader.lines[reader.index - 1].strip() and outside


def _add_commands(reader: _Reader, first: int, last: int) -> None:
    while first < last and (not reader.lines[first].strip() or reader.lines[first].lstrip().startswith(":")):
        first += 1
    while last > first and not reader.lines[last - 1].strip():
        last -= 1
    body = reader.lines[first:last]
    if body and body[0].lstrip().startswith("$ "):
        body = list(itertools.takewhile(lambda line: line.lstrip().startswith("$ "), body))
    commands = [position for position, line in enumerate(body) if _is_command(line.strip())]
    if commands and len(commands) * 2 >= len([line for line in body if line.strip()]):
        end = min(commands[-1] + 1, commands[0] + _MAX_COMMAND_LINES)
        reader.add("command", first + commands[0], first + end - 1)


def _is_command(line: str) -> bool:
    return line.startswith("$ ") or _SHELL.match(line) is not None


def _read_table(reader: _Reader) -> None:
    header = ""
    while reader.line().strip().startswith("|"):
        if _TABLE_RULE.match(reader.line()):
            pass
        elif not header and _TABLE_RULE.match(reader.line(1)) and reader.line(1).strip():
            header = reader.line()
        else:
            reader.add("row", reader.index, reader.index, header)
        reader.index += 1


def _read_text(reader: _Reader) -> None:
    first = reader.index
    item = _ITEM.match(reader.line())
    reader.index += 1
    while reader.index < len(reader.lines) and not _ends_text(reader):
        reader.index += 1
    reader.add("item" if item else "sentence", first, reader.index - 1)


def _ends_text(reader: _Reader) -> bool:
    line = reader.line()
    stripped = line.strip()
    if (
        not stripped
        or _HEADING.match(line)
        or _FENCE.match(line)
        or _ITEM.match(line)
        or stripped.startswith(("|", ".. "))
    ):
        return True
    return bool(_UNDERLINE.match(stripped))


def _statements_of(block: _Block, passage: Passage) -> Iterator[Statement]:
    raw = passage.text[block.start : block.end]
    if block.kind == "row":
        yield from _row(block, raw, passage)
    elif block.kind == "command":
        text = "; ".join(_command_of(line) for line in raw.split("\n") if line.strip())
        lead = len(raw) - len(raw.lstrip())
        yield Statement("command", passage, block.start + lead, block.end, text, "", block.heading)
    else:
        yield from _sentences(block, raw, passage)


def _command_of(line: str) -> str:
    return _TRAILING_COMMENT.sub("", _PROMPT.sub("", line)).strip()


def _row(block: _Block, raw: str, passage: Passage) -> Iterator[Statement]:
    cells = _cells(raw)
    names = _cells(block.header)
    if len(cells) < 2 or not cells[0]:
        return
    rest = [
        f"{name}: {cell}" if name and len(cells) > 2 else cell
        for name, cell in zip((names + [""] * len(cells))[1 : len(cells)], cells[1:], strict=True)
        if cell
    ]
    lead = len(raw) - len(raw.lstrip())
    text = "; ".join(rest) if _opens_with(cells[0], rest) else f"{cells[0]}: {'; '.join(rest)}"
    yield Statement(
        "row", passage, block.start + lead, block.start + len(raw.rstrip()), text, cells[0].strip("`"), block.heading
    )


def _opens_with(name: str, cells: list[str]) -> bool:
    """Whether the second cell is a sentence about the first: `NATS | NATS carries the events.`"""
    words = re.sub(r"^(?:The|An?) ", "", cells[0]).replace("`", "") if len(cells) == 1 else ""
    return words.startswith(f"{name.strip('`')} ")


def _cells(row: str) -> list[str]:
    return [without_markup(cell) for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))] if row else []


def _sentences(block: _Block, raw: str, passage: Passage) -> Iterator[Statement]:
    marker = _ITEM.match(raw)
    lead = marker.end() if marker else 0
    kind: StatementKind = block.kind
    for start, end in sentence_spans(raw, lead):
        text = without_markup(raw[start:end])
        if len(text) >= 12 and end - start <= _MAX_SENTENCE * 2:
            subject = _subject_of_item(text) if kind == "item" and start == lead else ""
            yield Statement(kind, passage, block.start + start, block.start + end, text, subject, block.heading)
        kind = "sentence"


def _subject_of_item(text: str) -> str:
    """The term of `**term**: meaning` and its cousins."""
    term = re.match(r"`?([\w./-]+(?: [\w./-]+){0,2})`?\s*(?:\([^)]*\))?\s*(?::|–|—|-(?=\s)|\bis\b|\bare\b)", text)
    return term.group(1) if term else ""


def sentence_spans(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence of a paragraph, whitespace outside."""
    begin = start
    for match in _SENTENCE_END.finditer(text, start):
        if not _ABBREVIATED.search(text[max(begin, match.start() - 12) : match.end()]):
            yield from _trimmed(text, begin, match.end())
            begin = match.end()
    yield from _trimmed(text, begin, len(text))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip(" \t\r\n>"))
    end -= len(piece) - len(piece.rstrip())
    if end > start:
        yield start, end
