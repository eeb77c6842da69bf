"""How well a statement reads alone, and whether its form fits what is asked: a definition, a command, a place."""

from __future__ import annotations

import re
from collections.abc import Mapping

from morningai.evidence.statements import Statement
from morningai.evidence.words import WEAK_STEMS, content_stems, stems

DANGLING = re.compile(
    r"^(?:it|its|i|this|these|those|they|he|she|we|that|such|however|but|and|also|then|otherwise|instead|in this case|"
    r"for example|note that|follow|refer to|continue|check out|see|here|there|both|if so|again|each (?:is|of|one)|"
    r"the (?:following|above|latter|former)|as (?:shown|described|above))\b",
    re.IGNORECASE,
)
_HOW = re.compile(r"\bhow (?:do|can|should|to|would)\b", re.IGNORECASE)
_EXPLAIN = re.compile(r"\bhow (?:does|is|are)\b|\bwhy\b|\bexplain\b", re.IGNORECASE)
_WHAT_IS = re.compile(
    r"\bwhat(?:'s| is| are| does| do)\b|\bwho\b|\bpurpose of\b|\bmeaning of\b|\bexplain\b", re.IGNORECASE
)
_WHERE = re.compile(r"\bwhere\b|\bwhich (?:file|module|class|function)\b|\bdefined\b|\bimplemented\b", re.IGNORECASE)
_DEFINING_VERB = re.compile(
    r"[:–—]|\b(?:is|are|was|provides?|serves?|does|stores?|holds?|keeps?|lets?|allows?|means?|contains?|represents?|uses?)\b"
)


def form_of(
    statement: Statement, question: str, asked: frozenset[str], heading: Mapping[str, float], *, is_first: bool
) -> float:
    """The factor on a statement's score; 1 is neutral. `asked` are the stems of the question."""
    strong = asked - WEAK_STEMS
    named = any(value >= 0.9 for item, value in heading.items() if item not in WEAK_STEMS)
    factor = _readability(statement) * (1.0 + 0.5 * _focus(statement, asked))
    if is_first and named:
        factor *= 1.1
    if _WHAT_IS.search(question) and (
        _defines(statement.text, strong) or (named and statement.text and statement.kind in {"definition", "row"})
    ):
        factor *= 1.3
    if _HOW.search(question):
        factor *= 1.35 if named and statement.kind == "command" else 1.0
        factor *= 0.85 if statement.kind == "definition" else 1.0
    if _EXPLAIN.search(question):
        factor *= 0.88 if statement.kind in {"definition", "code"} else 1.0
        factor *= 1.15 if _defines(statement.text, strong) else 1.0
    if _WHERE.search(question) and named and statement.kind == "definition":
        factor *= 1.4
    return factor


def _readability(statement: Statement) -> float:
    text = statement.text
    if statement.kind == "definition":
        private = statement.subject.rsplit(".", 1)[-1].startswith("_")
        return (1.0 if text else 0.7) * (0.8 if private else 1.0)
    if statement.kind not in {"sentence", "item", "comment"}:
        return 1.0
    factor = 0.65 if DANGLING.match(text) else 1.0
    factor *= 0.7 if text.endswith((":", "?")) or len(text) < 25 else 1.0
    return factor * (0.8 if len(text) > 300 else 1.0)


def _focus(statement: Statement, asked: frozenset[str]) -> float:
    """How much of the statement's subject (or heading) and of the question is the same, 0..1."""
    return max(_overlap(statement.subject, asked), 0.8 * _overlap(statement.heading, asked))


def _overlap(name: str, asked: frozenset[str]) -> float:
    words = set(content_stems(name.replace("_", " ").replace(".", " ")))
    return len(words & asked) / len(words | (asked - WEAK_STEMS)) if words else 0.0


def _defines(text: str, strong: frozenset[str]) -> bool:
    """Whether the sentence begins with what is asked for and a verb follows: `X is`, `X: …`, `The X provides`."""
    opening = _DEFINING_VERB.split(text, maxsplit=1)
    return len(opening) == 2 and len(opening[0]) < 60 and not strong.isdisjoint(stems(opening[0]))
