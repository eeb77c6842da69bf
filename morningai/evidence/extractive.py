"""The engine without a model: it answers by quoting, and says "not found" when the passages do not hold the question.

Invariant: every claim carries evidence cut from a passage or a fact; nothing is worded beyond a frame around the quote.
"""

from __future__ import annotations

from collections.abc import Sequence

from morningai.evidence.model import Answer, Claim, Fact, Passage
from morningai.evidence.ranking import Question, Ranked, ask, rank
from morningai.evidence.statements import claim
from morningai.evidence.structure import answer_structure, structure_focus
from morningai.evidence.words import stems

FOUND_COVERAGE = 0.5
_BEST = 10
_LONG_QUESTION = 8
_LONG_COVERAGE, _LONG_OWN, _LONG_ABSENT = 0.2, 3, 0.25
MOST_CLAIMS = 6
FEWEST_CLAIMS = 3
_KEPT_SHARE = 0.64
_FILLED_SHARE = 0.55
_SAME_FILE = 0.86
_NEAR_DUPLICATE = 0.7


def answer_extractively(question: str, passages: Sequence[Passage], facts: Sequence[Fact]) -> Answer:
    """An answer quoted from ranked passages; structure questions are answered from facts and their best definitions."""
    focus = structure_focus(question, passages, facts)
    claims = answer_structure(focus, passages, facts) if focus else ()
    asked = ask(question, passages)
    if not claims and "Services" not in focus:
        claims = _quoted(asked, passages)
    return Answer(
        found=bool(claims),
        claims=claims,
        searched=_searched(asked, passages, facts),
    )


def _quoted(asked: Question, passages: Sequence[Passage]) -> tuple[Claim, ...]:
    ranked = [found for found in rank(asked, passages) if _says_something(found, asked)]
    if not ranked or not is_covered(asked, ranked):
        return ()
    return tuple(claim(found.statement) for found in _diverse(ranked))


def is_covered(asked: Question, ranked: Sequence[Ranked]) -> bool:
    """Whether the best statements hold enough of the question to be an answer to it.

    No statement holds half of a question of many words. There it is enough to say three of them, where nearly all of
    the question's words occur; the limits were measured with on-topic and off-topic questions on five repositories.
    """
    best = ranked[:_BEST]
    if max(found.coverage for found in best) >= FOUND_COVERAGE:
        return True
    return (
        len(asked.strong) >= _LONG_QUESTION
        and asked.absent_share <= _LONG_ABSENT
        and any(found.coverage >= _LONG_COVERAGE and len(found.own & asked.strong) >= _LONG_OWN for found in best)
    )


def _says_something(found: Ranked, asked: Question) -> bool:
    return bool(found.own & asked.strong) or not asked.strong


def _diverse(ranked: Sequence[Ranked]) -> list[Ranked]:
    """The best statements, with less room for the same file and none for the same words."""
    chosen: list[Ranked] = []
    rest = list(ranked[:60])
    best = ranked[0].score
    while rest and len(chosen) < MOST_CLAIMS:
        used = [found.statement.passage.path for found in chosen]
        scores = [found.score * _SAME_FILE ** used.count(found.statement.passage.path) for found in rest]
        top = max(range(len(rest)), key=lambda index: (scores[index], -index))
        share = scores[top] / best
        if share < (_KEPT_SHARE if len(chosen) >= FEWEST_CLAIMS else _FILLED_SHARE):
            break
        candidate = rest.pop(top)
        if not any(_same(candidate, other) for other in chosen):
            chosen.append(candidate)
    return chosen


def _same(left: Ranked, right: Ranked) -> bool:
    if left.statement.passage == right.statement.passage and left.statement.start == right.statement.start:
        return True
    a, b = set(stems(left.statement.text)), set(stems(right.statement.text))
    return bool(a and b) and len(a & b) / min(len(a), len(b)) >= _NEAR_DUPLICATE and left.statement.text != ""


def _searched(asked: Question, passages: Sequence[Passage], facts: Sequence[Fact]) -> tuple[str, ...]:
    """What was looked for and where, so that a reader can ask better: words, absent words, size, first files."""
    words = [word for word in asked.text.replace("?", " ").split() if set(stems(word)) & set(asked.weights)]
    absent = [word for word in words if set(stems(word)) & asked.absent]
    files = tuple(dict.fromkeys([*(passage.path for passage in passages), *(fact.path for fact in facts)]))
    return (
        f"looked for: {', '.join(words) or asked.text.strip()}",
        *((f"mentioned nowhere: {', '.join(absent)}",) if absent else ()),
        f"in {len(passages)} passages and {len(facts)} facts of {len(files)} files",
        *files[:8],
    )
