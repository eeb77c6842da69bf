"""Sections of prose: one for each heading, named by the path of headings above it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from services.docs.reading.sections import Section

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*\r?")
_SETEXT = re.compile(r" {0,3}(=+|-{3,})[ \t]*\r?")
_RST_LINE = re.compile(r"""([=\-`:'"~^_*+#<>.])\1{2,}[ \t]*\r?""")
_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 (outermost) and deeper, with the lines (1-based, inclusive) that it takes."""

    level: int
    title: str
    start_line: int
    end_line: int


def markdown_sections(lines: Sequence[str]) -> list[Section]:
    return list(_sections(markdown_headings(lines), lines))


def rst_sections(lines: Sequence[str]) -> list[Section]:
    return list(_sections(rst_headings(lines), lines))


def markdown_headings(lines: Sequence[str]) -> list[Heading]:
    """Headings with # and underlined ones, outside fenced code and front matter."""
    return list(_markdown_headings(lines))


def _markdown_headings(lines: Sequence[str]) -> Iterator[Heading]:
    fence = ""
    for number, line in enumerate(lines, start=1):
        marker = _FENCE.match(line)
        if marker is not None and (not fence or marker[1].startswith(fence)):
            fence = "" if fence else marker[1]
        elif not fence:
            heading = _markdown_heading(lines, number)
            if heading is not None:
                yield heading


def _markdown_heading(lines: Sequence[str], number: int) -> Heading | None:
    atx = _ATX.fullmatch(lines[number - 1])
    if atx is not None:
        return Heading(len(atx[1]), plain_title(atx[2]), number, number)
    underline = _SETEXT.fullmatch(lines[number - 1])
    if underline is None or number < 2 or not _is_title(lines, number - 1):
        return None
    return Heading(1 if underline[1][0] == "=" else 2, plain_title(lines[number - 2]), number - 1, number)


def _is_title(lines: Sequence[str], number: int) -> bool:
    """A line that can stand over an underline: text, alone in its paragraph, no list, quote, table or indented code."""
    line = lines[number - 1]
    before = lines[number - 2] if number > 1 else ""
    return bool(line.strip()) and line[0] not in " \t>|-*+#=" and not before.strip()


def rst_headings(lines: Sequence[str]) -> list[Heading]:
    """Titles with an underline, or with the same line above and below; the first style met is the outermost."""
    styles: list[str] = []
    headings: list[Heading] = []
    for number in range(2, len(lines) + 1):
        style = _rst_style(lines, number)
        if style:
            if style not in styles:
                styles.append(style)
            start_line = number - 2 if len(style) == 2 else number - 1
            headings.append(Heading(styles.index(style) + 1, plain_title(lines[number - 2]), start_line, number))
    return headings


def _rst_style(lines: Sequence[str], number: int) -> str:
    underline = _RST_LINE.fullmatch(lines[number - 1])
    title = lines[number - 2].rstrip()
    if underline is None or not title or _RST_LINE.fullmatch(title) or title.lstrip().startswith(".. "):
        return ""
    before = lines[number - 3].rstrip() if number > 2 else ""
    if before and before == lines[number - 1].rstrip():
        return underline[1] * 2
    is_long_enough = len(lines[number - 1].rstrip()) >= len(title) and not title[0].isspace()
    return underline[1] if is_long_enough and not before else ""


def plain_title(title: str) -> str:
    """A heading's words without markup for links, images and emphasis."""
    without_images = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", title)
    without_links = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", without_images)
    return without_links.replace("`", "").replace("**", "").strip()


def _sections(headings: Sequence[Heading], lines: Sequence[str]) -> Iterator[Section]:
    """A heading with nothing under it but a deeper heading joins that one's section."""
    above: list[Heading] = []
    carried: int | None = None
    for heading, following in zip_longest(headings, headings[1:]):
        above = [*(outer for outer in above if outer.level < heading.level), heading]
        start_line = carried or heading.start_line
        is_empty = following is not None and not any(
            line.strip() for line in lines[heading.end_line : following.start_line - 1]
        )
        carried = start_line if is_empty and following is not None and following.level > heading.level else None
        if carried is None:
            yield Section(start_line, _SEPARATOR.join(outer.title for outer in above))
