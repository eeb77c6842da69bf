"""What goes into a prompt: numbered lines, each a claim that the program can cite, within a token budget.

Invariant: a model names a line by its number, so whatever it says, the quote is the program's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from morningai.evidence.model import Answer, Claim, Passage
from morningai.evidence.parts import Part
from morningai.evidence.ranking import ask, rank
from morningai.evidence.statements import claim
from morningai.evidence.structure import overview
from morningai.evidence.words import stems
from morningai.llm.tokens import estimate_tokens

# A model with a small context is a small model, most likely on this machine's processor: it reads 40 tokens a second.
_LARGE_CONTEXT_TOKENS = 24_000
_LARGE_LINES_TOKENS, _SMALL_LINES_TOKENS = 6_000, 700
_RANKED = 200
_OVERVIEW_SENTENCES = 6
_KEPT_SHARE = 0.45
_LONGEST_LINE, _FEWEST_WORDS = 400, 3


def lines_budget(prompt_budget: int) -> int:
    """Tokens for the lines, by what the model's context leaves for a prompt."""
    return _LARGE_LINES_TOKENS if prompt_budget >= _LARGE_CONTEXT_TOKENS else _SMALL_LINES_TOKENS


def structure_lines(
    extracted: Answer, parts: Sequence[Part], passages: Sequence[Passage], *, budget_tokens: int
) -> tuple[Claim, ...]:
    """The overview and the parts' definitions: what a summary of a structure is made of."""
    opening = overview(passages, parts)[:_OVERVIEW_SENTENCES]
    return _within(chain(opening, extracted.claims), budget_tokens)


def question_lines(
    question: str, extracted: Answer, passages: Sequence[Passage], *, budget_tokens: int
) -> tuple[Claim, ...]:
    """What the extractive engine would answer, then the other statements that match the question."""
    ranked = rank(ask(question, passages), passages)[:_RANKED]
    worth = (found.statement for found in ranked if found.score >= _KEPT_SHARE * ranked[0].score)
    told = (claim(statement) for statement in worth if len(statement.text.split()) >= _FEWEST_WORDS)
    return _within(chain(extracted.claims, told), budget_tokens)


def numbered_lines(lines: Sequence[Claim]) -> str:
    return "\n".join(f"[{number}] {line.text}" for number, line in enumerate(lines, start=1))


def _within(claims: Iterable[Claim], budget_tokens: int) -> tuple[Claim, ...]:
    chosen: list[Claim] = []
    left = budget_tokens
    for made in _distinct(claims):
        cost = estimate_tokens(f"[{len(chosen) + 1}] {made.text}\n")
        if cost <= left and len(made.text) <= _LONGEST_LINE:
            chosen.append(made)
            left -= cost
    return tuple(chosen)


def _distinct(claims: Iterable[Claim]) -> Iterator[Claim]:
    """Each text and each quote once."""
    seen: set[object] = set()
    for made in claims:
        said, quoted = tuple(stems(made.text)), made.evidence[0]
        if said not in seen and quoted not in seen:
            seen.update((said, quoted))
            yield made
