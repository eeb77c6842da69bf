"""What is particular to faqgen: how much may be asked for, and which engine wrote what; pure rules without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from morningai.errors import InvalidInput
from morningai.evidence.documents import EXTRACTIVE
from morningai.evidence.model import Answer, Claim, FaqItem

ANSWER_PROMPT = ("answer", 1)
FAQ_PROMPT = ("faq", 1)
LONGEST_INSTRUCTION_CHARACTERS = 4_000
DEFAULT_FAQ_ITEMS = 8
FEWEST_FAQ_ITEMS = 5
MOST_FAQ_ITEMS = 30
MOST_PASSAGES = 2_000


def checked_instruction(instruction: str) -> str:
    """The instruction without surrounding blanks; InvalidInput when it is empty or too long."""
    text = instruction.strip()
    if not any(character.isalnum() for character in text):
        raise InvalidInput("instruction", "is empty", remedy="Ask a question about the source.")
    if len(text) > LONGEST_INSTRUCTION_CHARACTERS:
        problem = f"has {len(text)} characters, more than {LONGEST_INSTRUCTION_CHARACTERS}"
        raise InvalidInput("instruction", problem, remedy="Shorten it, or ask in several tasks.")
    return text


def faq_items_wanted(count: int) -> int:
    """How many items to make; zero means the default. InvalidInput when out of range."""
    if count == 0:
        return DEFAULT_FAQ_ITEMS
    if not FEWEST_FAQ_ITEMS <= count <= MOST_FAQ_ITEMS:
        remedy = f"Ask for {FEWEST_FAQ_ITEMS} to {MOST_FAQ_ITEMS} items, or for 0, which means {DEFAULT_FAQ_ITEMS}."
        raise InvalidInput("item_count", f"is {count}", remedy=remedy)
    return count


def engine_of(claim: Claim, engine: str) -> str:
    """The engine that wrote a claim of a result of `engine`: claims that were only quoted are the program's."""
    return engine if claim.origin == "model" else EXTRACTIVE


@dataclass(frozen=True)
class Provenance:
    """Who wrote a result, from what, and what it cost in tokens."""

    task: str
    trace_id: str
    engine: str
    model: str
    prompt_version: str
    repository: str
    commit: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class StoredAnswer:
    answer_id: UUID
    question: str
    answer: Answer
    markdown: str
    provenance: Provenance
    created_at: datetime


@dataclass(frozen=True)
class StoredFaq:
    faq_id: UUID
    source: str
    items: tuple[FaqItem, ...]
    markdown: str
    provenance: Provenance
    created_at: datetime
