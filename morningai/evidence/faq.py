"""FAQ items mined from a repository: questions from its parts, commands, headings and public names, answered by quotes.

Invariant: every item has resolved evidence, no two items ask nearly the same, and the order is deterministic.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from morningai.evidence.faq_sources import Draft, find_drafts
from morningai.evidence.headings import question_words
from morningai.evidence.model import Claim, Fact, FaqItem, Passage
from morningai.evidence.structure import is_declared_only
from morningai.evidence.words import WEAK_STEMS, content_stems, stemmed, stems

FEWEST_FILES = 4
_MOST_COMPARED = 400
_SAME_FILE = 0.7
_SAME_KIND = 0.82
_NEAR_DUPLICATE = 0.65
_OFF_TOPIC = 0.35
_GENERIC = stemmed(
    "faq faqs question questions answer answers frequently asked generate write create make list document "
    "documentation system architecture structure component overview platform repository service services"
)


@dataclass(frozen=True, slots=True)
class _Chosen:
    drafts: tuple[Draft, ...]

    @property
    def files(self) -> Counter[str]:
        return Counter(draft.path for draft in self.drafts)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(draft.kind for draft in self.drafts)


def mine_faq(passages: Sequence[Passage], facts: Sequence[Fact], instruction: str, count: int) -> tuple[FaqItem, ...]:
    """Up to `count` items, over at least four files where there are so many; the instruction moves its words up."""
    drafts = merge_near_duplicates(_weighed(find_drafts(passages, facts), instruction)[:_MOST_COMPARED])
    chosen = _Chosen(())
    while len(chosen.drafts) < count:
        draft = _next(drafts, chosen, left=count - len(chosen.drafts))
        if draft is None:
            break
        chosen = _Chosen((*chosen.drafts, draft))
    return tuple(FaqItem(question=draft.question, claims=draft.claims) for draft in chosen.drafts)


def _weighed(drafts: Sequence[Draft], instruction: str) -> list[Draft]:
    wanted = frozenset(content_stems(instruction)) - WEAK_STEMS - _GENERIC
    if wanted:
        shares = [len(wanted & _words_of(draft)) / len(wanted) for draft in drafts]
        if any(shares):
            drafts = [
                replace(draft, score=draft.score * (_OFF_TOPIC + share))
                for draft, share in zip(drafts, shares, strict=True)
            ]
    return sorted(drafts, key=lambda draft: (-draft.score, draft.path, draft.claims[0].evidence[0].start_line))


def _words_of(draft: Draft) -> frozenset[str]:
    return frozenset(stems(f"{draft.question} {' '.join(claim.text for claim in draft.claims)}"))


def merge_near_duplicates(drafts: Sequence[Draft]) -> list[Draft]:
    """Of drafts that ask nearly the same the best stays, with the others' claims that it lacks (at most three)."""
    kept: list[Draft] = []
    words: list[frozenset[str]] = []
    for draft in drafts:
        own = question_words(draft.question)
        same = next((index for index, other in enumerate(kept) if _asks_alike(draft, other, own, words[index])), None)
        if same is None:
            kept.append(draft)
            words.append(own)
        else:
            kept[same] = _joined(kept[same], draft)
    return kept


def _asks_alike(left: Draft, right: Draft, own: frozenset[str], other: frozenset[str]) -> bool:
    return _alike(own, other) and _names_in(left.question) == _names_in(right.question)


def _names_in(question: str) -> tuple[str, ...]:
    """Two questions about different symbols are different, however alike the names are."""
    return tuple(name for name in re.findall(r"`([^`]+)`", question) if not name.isalpha())


def _alike(left: frozenset[str], right: frozenset[str]) -> bool:
    return left == right or (bool(left & right) and len(left & right) / len(left | right) >= _NEAR_DUPLICATE)


def _joined(best: Draft, other: Draft) -> Draft:
    known = {claim.evidence[0] for claim in best.claims}
    said = {claim.text for claim in best.claims}
    added: tuple[Claim, ...] = tuple(
        claim for claim in other.claims if claim.evidence[0] not in known and claim.text not in said
    )
    claims = sorted([*best.claims, *added], key=is_declared_only)
    return replace(best, claims=tuple(claims[:3]))


def _next(drafts: Sequence[Draft], chosen: _Chosen, *, left: int) -> Draft | None:
    files, kinds = chosen.files, chosen.kinds
    quotes = {claim.evidence[0].quote for draft in chosen.drafts for claim in draft.claims}
    free = [draft for draft in drafts if draft not in chosen.drafts and draft.claims[0].evidence[0].quote not in quotes]
    if len(files) < FEWEST_FILES and left <= FEWEST_FILES - len(files):
        free = [draft for draft in free if draft.path not in files] or free
    return max(
        free,
        key=lambda draft: draft.score * _SAME_FILE ** files[draft.path] * _SAME_KIND ** kinds[draft.kind],
        default=None,
    )
