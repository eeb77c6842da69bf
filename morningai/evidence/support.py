"""Whether a model's sentence is carried by the text it quotes: no new names, no new numbers, mostly its words."""

from __future__ import annotations

import re

from morningai.evidence.words import content_stems, stems

_CODE = re.compile(r"`([^`]+)`|\b([A-Za-z]\w*_\w+|[a-z]+[A-Z]\w*|\w+(?:\.\w+)+\(?\)?)\b")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")
_NEGATION = re.compile(r"\b(?:not|never|no|cannot|without|n't|nor|none|refuse[sd]?|neither)\b|n't\b", re.IGNORECASE)
LEAST_SHARED = 0.5


def is_supported(text: str, source: str, question: str = "") -> bool:
    """Compares words only, so not every wrong reading is seen; names and numbers that came from nowhere are."""
    known = f"{source}\n{question}"
    lowered = known.lower()
    if any(number not in known for number in _NUMBER.findall(text)):
        return False
    names = (first or second for first, second in _CODE.findall(text))
    if any(name.strip("`().").lower() not in lowered for name in names):
        return False
    if _NEGATION.search(text) and not _NEGATION.search(known):
        return False
    said = content_stems(text)
    present = set(stems(known))
    shared = [item for item in said if item in present or any(other.startswith(item) for other in present)]
    return bool(said) and len(shared) / len(said) >= LEAST_SHARED
