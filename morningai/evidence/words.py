"""Words as search compares them: identifiers split, inflections cut, function words gone.

Invariant: every suffix rule only cuts, so a stem is a prefix of the lower-cased word (an undoubled consonant included)
and a substring search for the stem never misses a word.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SUFFIXES = (
    "ications", "ication", "icates", "icated", "icate", "ations", "ation", "ators", "ator", "ating", "ated", "ates",
    "ate", "ments", "ment", "ions", "ion", "ings", "ing", "ies", "ied", "ed", "es", "s", "y", "e", "i",
)  # fmt: skip
_SHORTEST_STEM = {"ment": 5, "ments": 5, "ing": 3, "ings": 3, "ed": 3, "s": 3, "y": 3, "e": 3, "es": 4, "ies": 3}
_KEPT_ENDINGS = ("ss", "us", "is", "ous")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = _words(
    """
    a about above after again all also am an and any are as at be because been before being below between both
    but by can cannot could did do does doing done down during each else ever few for from further had has have
    having he her here hers him his how i if in into is it its itself just let like many may me might more most
    much must my no nor not now of off on once only or other our out over own per please same shall she should
    so some such than that the their them then there these they this those through to too under until up upon us
    very via was we were what when where which while who whom whose why will with within without would yes yet
    you your explain describe tell show give know want need exactly actually mean exist exists there's what's
    """
)
_WEAK = _words(
    """
    use used using work works working handle handles happen happens happening implement implemented support
    supported supports provide provides make makes made get gets getting go goes set thing way purpose goal role
    part main project platform repository repo code codebase system application app program software file files find
    found define defined definition defines located location function class method call called calls possible
    example enforce enforces enforced achieve achieves achieved maintain maintains maintained
    detail details information overview basic general difference ensure ensures guarantee prevent
    prevented avoid avoided protect manage managed perform performed contain contains include includes allow
    allows enable come take takes put place keep kept exactly different several various important best good new
    version required requires require responsible do doing look looks inside full first kind type
    """
)
_SYNONYM_GROUPS = (
    ("run", "start", "launch", "execute", "invoke"),
    ("install", "setup", "installation"),
    ("database", "db", "postgresql", "postgres", "sql"),
    ("authenticate", "auth", "login", "authentication", "signin"),
    ("authorize", "permission", "authorization"),
    ("delete", "remove", "drop"),
    ("store", "save", "persist", "storage"),
    ("configure", "config", "settings", "setting", "option"),
    ("error", "exception", "failure", "fail"),
    ("documentation", "docs", "doc"),
    ("kubernetes", "k8s"),
    ("endpoint", "route", "url"),
    ("license", "licence"),
    ("message", "event"),
    ("create", "add"),
    ("environment", "env"),
    ("repository", "repo"),
    ("argument", "parameter", "arg", "param"),
    ("require", "need", "depend", "prerequisite"),
    ("folder", "directory", "dir"),
    ("contribute", "contributing", "contributor"),
)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The lower-cased word without its inflection; close to a Porter stemmer's first steps, and much cheaper."""
    found = _without_suffix(word.lower())
    return found[:-1] if found.endswith("ll") and len(found) > 5 else found


def _without_suffix(word: str) -> str:
    if len(word) <= 3 or word.isdigit():
        return word
    if word.endswith("s") and not word.endswith(_KEPT_ENDINGS) and not word.endswith(("ies", "ates", "es")):
        word = word[:-1]
    for suffix in _SUFFIXES:
        base = word[: -len(suffix)]
        if word.endswith(suffix) and len(base) >= _SHORTEST_STEM.get(suffix, 4) and not word.endswith(_KEPT_ENDINGS):
            return _undoubled(base) if suffix in {"ing", "ed"} else base.removesuffix("i")
    return word


def _undoubled(base: str) -> str:
    if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz":
        base = base[:-1]
    return base.removesuffix("i") if len(base) > 4 else base


@lru_cache(maxsize=65536)
def _stems_of_word(word: str) -> tuple[str, ...]:
    parts = _PART.findall(word)
    if len(parts) <= 1:
        return (stem(word),)
    return (word.lower(), *(stem(part) for part in parts))


def stemmed(words: str) -> frozenset[str]:
    """The stems of words separated by blanks."""
    return frozenset(stem(word) for word in words.split())


def stems(text: str) -> list[str]:
    """All stems of a text in order; a camelCase word gives itself and its parts."""
    return [found for word in _WORD.findall(text) for found in _stems_of_word(word)]


WEAK_STEMS = frozenset(stem(word) for word in _WEAK)
_STOP_STEMS = STOP_WORDS | frozenset(stem(word) for word in STOP_WORDS if len(word) > 3)
_SYNONYMS = {
    stem(word): frozenset(stem(other) for other in group) - {stem(word)} for group in _SYNONYM_GROUPS for word in group
}


def synonyms(stemmed: str) -> frozenset[str]:
    """Stems that developers use for the same thing."""
    return _SYNONYMS.get(stemmed, frozenset())


def content_stems(text: str) -> tuple[str, ...]:
    """The distinct stems of a question that carry its meaning, in order; single letters and function words are gone."""
    kept = (
        found
        for word in _WORD.findall(text)
        if word.lower() not in STOP_WORDS and len(word) > 1
        for found in _split_question_word(word)
        if found not in _STOP_STEMS
    )
    return tuple(dict.fromkeys(kept))


def _split_question_word(word: str) -> tuple[str, ...]:
    """`TaskService` asks for its parts; `PostgreSQL` and `gRPC` are words that happen to have capitals."""
    parts = _PART.findall(word)
    if len(parts) > 1 and all(len(part) >= 4 for part in parts):
        return tuple(stem(part) for part in parts)
    return (stem(word),)
