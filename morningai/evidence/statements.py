"""Statements: the smallest pieces of a passage that can be quoted alone, each with a readable sentence.

Invariant: `passage.text[start:end]` is the quote; `text` is that quote without markup, made readable and nothing more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from morningai.evidence.model import Claim, ClaimOrigin, Evidence, Passage
from morningai.evidence.quotes import cite

StatementKind = Literal["sentence", "item", "row", "command", "definition", "comment", "code", "setting"]

_ROLE = re.compile(r"(?::[a-z:+]+:|\{[a-z:+-]+\})`~?!?([^`<]*?)(?:\s*<[^>`]*>)?`")
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_RST_LINK = re.compile(r"`([^`<]+?)\s*<[^>`]+>`_{1,2}")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3}|__)(?=\S)(.+?)(?<=\S)\1(?![\w*])")
_LINE_LEAD = re.compile(r"(?m)^[ \t]*(?:>[ \t]?)+")
_REFERENCE = re.compile(r"(?<![\w\]`])\[([^\[\]^]+)\](?![\w(\[:])")
_CODE_SPAN = re.compile(r"(`[^`]*`)")
_RST_REFERENCE = re.compile(r"`([^`]+)`_{1,2}(?!\w)")
_PLAIN_WORD = re.compile(r"[a-z]+[,;:]?(?:\s|$)")
_LONGEST_SHOWN = 100
_FOOTNOTE = re.compile(r"\[\^?\w+\]_|\[\^\w+\]")


@dataclass(frozen=True, slots=True)
class Statement:
    """One quotable piece; `subject` is the symbol, first cell or heading it is about."""

    kind: StatementKind
    passage: Passage
    start: int
    end: int
    text: str
    subject: str = ""
    heading: str = ""

    @property
    def evidence(self) -> Evidence:
        return cite(self.passage, self.start, self.end)


def without_markup(text: str) -> str:
    """Readable words of a Markdown or reStructuredText fragment on one line; code stays in backticks."""
    text = _LINE_LEAD.sub("", text).replace("``", "`")
    text = _RST_REFERENCE.sub(r"\1", _RST_LINK.sub(r"\1", _ROLE.sub(r"`\1`", text)))
    text = "".join(part if part.startswith("`") else _plain(part) for part in _CODE_SPAN.split(text))
    text = text.rstrip().removesuffix("::").rstrip() + (":" if text.rstrip().endswith("::") else "")
    return " ".join(_EMPHASIS.sub(r"\2", text).split())


def _plain(text: str) -> str:
    return _REFERENCE.sub(r"\1", _LINK.sub(r"\1", _FOOTNOTE.sub("", text)))


def sentence(text: str) -> str:
    """The text with an upper-case start and a full stop where it has no end of its own."""
    text = text.strip()
    if _PLAIN_WORD.match(text):
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "`.", ".)", "…")) else text.rstrip(",;:") + "."


def claim(statement: Statement, *, origin: ClaimOrigin = "extracted", topic: str = "") -> Claim:
    return Claim(text=readable(statement), evidence=(statement.evidence,), origin=origin, topic=topic)


def readable(statement: Statement) -> str:
    """One sentence for a reader who does not see the file."""
    path, subject = statement.passage.path, _single_symbol(statement)
    match statement.kind:
        case "sentence":
            return sentence(statement.text)
        case "item" | "row":
            return _with_heading(statement)
        case "command":
            return _command(statement)
        case "definition" if statement.text:
            return f"`{path}` defines `{subject}`: {sentence(statement.text)}"
        case "definition":
            return f"`{path}` defines `{subject}`{_shown(statement)}."
        case "comment" if subject:
            return f"`{subject}` in `{path}`: {sentence(statement.text)}"
        case "comment":
            return f"`{path}`: {sentence(statement.text)}"
        case "setting":
            return f"`{path}` sets `{statement.text}`."
        case "code":
            where = f"`{subject}` in `{path}`" if subject else f"`{path}`"
            return f"{where} has `{statement.text}`."


def _single_symbol(statement: Statement) -> str:
    """What a window of lines is called is no name of a symbol: `lines 1-40`, `app, router`."""
    return "" if statement.kind != "definition" and " " in statement.subject else statement.subject


def _shown(statement: Statement) -> str:
    """A constant is shown with its value."""
    quote = statement.passage.text[statement.start : statement.end].strip()
    is_short = "\n" not in quote and "`" not in quote and len(quote) <= _LONGEST_SHOWN
    return f": `{quote}`" if statement.subject.rsplit(".", 1)[-1].isupper() and is_short and "=" in quote else ""


def _with_heading(statement: Statement) -> str:
    if statement.kind == "row":
        return statement.text.rstrip(".") + "."
    is_whole_sentence = statement.text[:1].isupper() and statement.text.count(" ") >= 5
    if is_whole_sentence or not statement.heading:
        return sentence(statement.text)
    return f"{statement.heading}: {sentence(statement.text)}"


def _command(statement: Statement) -> str:
    where = f"`{statement.passage.path}`"
    if statement.subject:
        tool = "just" if statement.passage.path.lower().endswith("justfile") else "make"
        return f"`{tool} {statement.subject}`: {sentence(statement.text)}"
    under = f" under “{statement.heading}”" if statement.heading else ""
    return f"{where} shows{under}: `{statement.text}`."
