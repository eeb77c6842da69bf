"""Statements ranked against a question: weighted overlap of stems, with a passage's context counted in part.

Invariant: the score depends on the question and the given passages alone, and ties are broken by path and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from morningai.evidence.definitions import code_statements, setting_statements
from morningai.evidence.forms import form_of
from morningai.evidence.model import Passage
from morningai.evidence.paths import is_prose, is_settings, path_prior
from morningai.evidence.prose import prose_statements
from morningai.evidence.statements import Statement
from morningai.evidence.words import WEAK_STEMS, content_stems, stems, synonyms

_WEAK_WEIGHT = 0.3
_SYNONYM_MATCH = 0.75
_CONTEXT_MATCH = 0.5
_NEARBY_MATCH = 0.6
_PASSAGES_READ = 60
_IMPLIED = {
    "compose up": "start run", "runserver": "start run", "uvicorn ": "start run", "gunicorn ": "start run",
    "environ": "configure environment variable", "getenv": "configure environment variable",
    "process.env": "configure environment variable",
    "pytest": "run tests", "tox": "run tests", "npm ci": "install", "uv sync": "install", "poetry install": "setup",
}  # fmt: skip
_KIND_PRIOR = {
    "sentence": 1.0,
    "item": 0.95,
    "row": 0.95,
    "command": 0.9,
    "definition": 1.0,
    "comment": 0.9,
    "setting": 0.8,
    "code": 0.6,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: stems with weights, higher where a stem is rare in the passages."""

    text: str
    weights: Mapping[str, float]
    absent: frozenset[str]
    documents: tuple[str, ...]

    @property
    def strong(self) -> frozenset[str]:
        return frozenset(self.weights) - WEAK_STEMS

    @property
    def total(self) -> float:
        return sum(self.weights.values())

    @property
    def absent_share(self) -> float:
        """How much of what is asked for stands nowhere in the passages, 0..1."""
        whole = sum(self.weights[item] for item in self.strong)
        return sum(self.weights[item] for item in self.strong & self.absent) / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A statement with its score, and the share of the question that it and its context cover (0..1)."""

    statement: Statement
    score: float
    coverage: float
    own: frozenset[str]


def split(passage: Passage) -> Iterator[Statement]:
    """The statements of a passage, by the kind of its file."""
    if is_settings(passage.path):
        return setting_statements(passage)
    if is_prose(passage.path):
        return prose_statements(passage)
    return code_statements(passage)


def ask(text: str, passages: Sequence[Passage]) -> Question:
    """The question weighed by how rare each of its stems is in the passages; `documents` are these in lower case."""
    documents = tuple(_searchable(passage) for passage in passages)
    weights: dict[str, float] = {}
    absent: set[str] = set()
    for item in content_stems(text):
        count = sum(1 for document in documents if _holds(document, item))
        rarity = 1.0 + math.log((len(documents) + 1) / (count + 1)) / math.log(len(documents) + 2)
        weights[item] = rarity * (_WEAK_WEIGHT if item in WEAK_STEMS else 1.0)
        if not count and not any(_holds(document, other) for other in synonyms(item) for document in documents):
            absent.add(item)
    return Question(text=text, weights=weights, absent=frozenset(absent), documents=documents)


def _searchable(passage: Passage) -> str:
    text = f"{passage.path}\n{passage.symbol}\n{passage.text}".lower()
    return f"{text}\n{implied}" if (implied := _implied(text)) else text


def _implied(text: str) -> str:
    """What a command does without saying so."""
    return " ".join(meaning for word, meaning in _IMPLIED.items() if word in text)


def _holds(document: str, item: str) -> bool:
    if len(item) > 4 or item not in document:
        return item in document
    return re.search(rf"(?<![a-z]){re.escape(item)}", document) is not None


def rank(question: Question, passages: Sequence[Passage]) -> list[Ranked]:
    """Statements that share something with the question, best first."""
    ranked = [
        found
        for passage, position in _worth_reading(question, passages)
        for found in _rank_passage(question, passage, position)
    ]
    ranked.sort(
        key=lambda found: (
            -found.score,
            found.statement.passage.path,
            found.statement.passage.start_line,
            found.statement.start,
        )
    )
    return ranked


def _worth_reading(question: Question, passages: Sequence[Passage]) -> list[tuple[Passage, float]]:
    """The passages that hold most of the question, above all in path and symbol, with their standing."""
    known = {item: (item, *synonyms(item)) for item in question.weights}
    scored = []
    for position, (passage, document) in enumerate(zip(passages, question.documents, strict=True)):
        held = [item for item in question.weights if any(word in document for word in known[item])]
        if held:
            named = f"{passage.path} {passage.symbol}".lower()
            weight = sum(question.weights[item] * (1.5 if item in named else 1.0) for item in held)
            scored.append((weight * path_prior(passage.path), position, passage))
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    return [(passage, 1.0 / (1.0 + position / 40)) for _, position, passage in scored[:_PASSAGES_READ]]


def _rank_passage(question: Question, passage: Passage, standing: float) -> Iterator[Ranked]:
    place = _matches(question, stems(f"{passage.path} {passage.symbol}"))
    nearby = {item: _NEARBY_MATCH * value for item, value in _matches(question, stems(passage.text)).items()}
    prior = path_prior(passage.path) * (0.9 + 0.1 * standing) * _named_file(question, passage.path)
    asked = frozenset(question.weights)
    for position, statement in enumerate(split(passage)):
        heading = _matches(question, stems(f"{statement.heading} {statement.subject}"))
        own = _matches(question, stems(_said(statement)))
        if not own and not heading:
            continue
        if statement.kind in {"command", "row"}:
            own = {item: max(own.get(item, 0.0), heading.get(item, 0.0)) for item in own | heading}
        coverage = _coverage(question, own, (place, heading, nearby))
        form = form_of(statement, question.text, asked, heading, is_first=position == 0)
        score = coverage * prior * _KIND_PRIOR[statement.kind] * form
        yield Ranked(statement, score, coverage, frozenset(own) | {item for item in heading if heading[item] >= 1.0})


def _said(statement: Statement) -> str:
    if statement.kind in {"command", "code"}:
        return f"{statement.text} {_implied(statement.text.lower())}"
    if statement.kind == "definition":
        quote = statement.passage.text[statement.start : statement.end].lower()
        return f"{statement.text} {statement.subject} {_implied(quote)}"
    return statement.text


def _coverage(question: Question, own: Mapping[str, float], around: Sequence[Mapping[str, float]]) -> float:
    covered = sum(
        weight * max(own.get(item, 0.0), _CONTEXT_MATCH * max(found.get(item, 0.0) for found in around))
        for item, weight in question.weights.items()
    )
    return covered / question.total if question.total else 0.0


def _named_file(question: Question, path: str) -> float:
    name = stems(PurePosixPath(path).stem)
    return 1.12 if any(part.startswith(item) for item in question.strong if len(item) >= 4 for part in name) else 1.0


def _matches(question: Question, found: Iterable[str]) -> dict[str, float]:
    present = set(found)
    matches: dict[str, float] = {}
    for item in question.weights:
        if item in present:
            matches[item] = 1.0
        elif synonyms(item) & present:
            matches[item] = _SYNONYM_MATCH
        elif len(item) >= 5 and any(other.startswith(item) for other in present):
            matches[item] = 0.9
    return matches
