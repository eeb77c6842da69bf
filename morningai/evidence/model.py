"""The words of grounded work: passages and facts that were read, evidence quoted from them, claims that rest on it.

Invariant: text and quotes are verbatim; `Passage.text` is the lines start_line..end_line (1-based, inclusive) joined by
a newline, and `Evidence.quote` is a substring of such a join.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FactKind = Literal[
    "service",
    "module",
    "rpc_service",
    "table",
    "route",
    "compose_service",
    "import",
    "heading",
    "dependency",
    "command",
]
ClaimOrigin = Literal["model", "extracted"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one file that search found; `symbol` is empty for prose without a heading."""

    path: str
    symbol: str
    commit: str
    blob_hash: str
    start_line: int
    end_line: int
    text: str
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Fact:
    """A named part of the repository; `quote` is verbatim from the lines that declare it."""

    kind: FactKind
    name: str
    path: str
    commit: str
    blob_hash: str
    start_line: int
    end_line: int
    quote: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a claim comes from: a verbatim substring of the lines start_line..end_line of one blob at one commit."""

    path: str
    commit: str
    blob_hash: str
    start_line: int
    end_line: int
    quote: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One readable sentence and the evidence it rests on; `topic` is the section a document puts it in, or empty."""

    text: str
    evidence: tuple[Evidence, ...]
    origin: ClaimOrigin
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sources say; with `found` false there are no claims, and `searched` says what was looked for."""

    found: bool
    claims: tuple[Claim, ...]
    searched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FaqItem:
    """A question a reader may ask, answered by claims."""

    question: str
    claims: tuple[Claim, ...]
