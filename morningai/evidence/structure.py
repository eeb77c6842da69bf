"""Structure questions answered from facts: every named part becomes a claim with the best quote that defines it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath

from morningai.evidence.definition_finder import SEPARATOR, WORST_DEFINITION, DefinitionFinder
from morningai.evidence.model import Claim, Evidence, Fact, Passage
from morningai.evidence.parts import Part, Topic, fact_evidence, find_parts, is_project, module_name
from morningai.evidence.paths import is_prominent
from morningai.evidence.ranking import split
from morningai.evidence.statements import Statement, claim, sentence, without_markup
from morningai.evidence.words import content_stems, stem, stemmed, stems

_WHOLE = stemmed(
    """
    architecture structure structured component components overview layout organized organised organization
    design designed building blocks block picture parts part built consist consists composed made up big
    """
)
_NAMED: dict[str, Topic] = {
    stem("services"): "Services", stem("microservices"): "Services", stem("infrastructure"): "Infrastructure",
    stem("modules"): "Packages", stem("packages"): "Packages", stem("tables"): "Tables", stem("routes"): "Routes",
    stem("endpoints"): "Routes", stem("rpc"): "RPC services", stem("rpcs"): "RPC services",
}  # fmt: skip
_GENERIC = stemmed(
    """
    system systems project repository repo code codebase source application app program software platform whole
    entire overall available list name names different main high level various library framework product top
    database sql http kind kinds type public internal grpc contain contains include work works do does use used
    using major key important folder folders directory directories summary summarize general purpose basic
    technical
    """
)  # fmt: skip
_ALL: tuple[Topic, ...] = ("Overview", "Services", "Infrastructure", "Packages")
_MOST_PER_TOPIC = 30
_MOST_OPENING_SENTENCES, _OPENING_LINES = 40, 40
_GOOD_DEFINITION = 0.85
_ENOUGH_MODULES = _ENOUGH_SERVICES = 4
_DESCRIPTION = re.compile(r"\"?description\"?\s*[:=]\s*\"([^\"\n]{12,})\"")
_DECLARED = ") is declared in `"


def structure_focus(question: str, passages: Sequence[Passage], facts: Sequence[Fact]) -> tuple[Topic, ...]:
    """The kinds of parts that a question asks to be listed; empty when it asks about something in particular."""
    asked = content_stems(question)
    names = _project_names(passages, facts)
    rest = [
        item
        for item in asked
        if item not in _WHOLE and item not in _NAMED and item not in _GENERIC and item not in names
    ]
    if rest:
        return ()
    if any(item in _WHOLE for item in asked):
        return _ALL
    named = tuple(dict.fromkeys(_NAMED[item] for item in asked if item in _NAMED))
    if named:
        return tuple(topic for topic in named if topic != "Services" or "RPC services" not in named)
    return ("Overview",) if _asks_what_it_is(question, asked) else ()


def _asks_what_it_is(question: str, asked: Sequence[str]) -> bool:
    return (
        bool(re.search(r"\bwhat\b|\babout\b|\bsummar|\bexplain\b|\bdescribe\b", question, re.IGNORECASE))
        and len(asked) <= 4
    )


def _project_names(passages: Sequence[Passage], facts: Sequence[Fact]) -> frozenset[str]:
    found: set[str] = set()
    for passage in passages:
        name = PurePosixPath(passage.path).name.lower()
        if "/" in passage.path:
            continue
        if name.startswith("readme") and passage.start_line == 1:
            title = next((line for line in passage.text.split("\n") if line.strip("# =")), "")
            found.update(stems(re.split(r"[:–—]| - ", title)[0]))
        if name in {"pyproject.toml", "package.json", "cargo.toml", "setup.cfg"}:
            found.update(
                item
                for match in re.findall(r"(?m)^\s*\"?name\"?\s*[:=]\s*\"?([\w.-]+)", passage.text)[:1]
                for item in stems(match)
            )
    tops = {module_name(fact).split(".")[0] for fact in facts if fact.kind == "module"}
    own = {top for top in tops if len(tops) == 1} | set(_root_projects(facts))
    return frozenset(found | {stem(top) for top in own}) - {"a", "the", "is"}


def _root_projects(facts: Sequence[Fact]) -> list[str]:
    """What the manifests at the root call the project."""
    return [fact.name for fact in facts if fact.kind == "module" and is_project(fact) and "/" not in fact.path]


def project_name(passages: Sequence[Passage], facts: Sequence[Fact]) -> str:
    """What the README's title calls the project, else its manifest, else its only package, else "the project"."""
    for passage in passages:
        if "/" not in passage.path and passage.path.lower().startswith("readme") and passage.start_line <= 3:
            name = re.split(r"[:–—|]| - ", without_markup(_title(passage.text)).strip("# ="))[0].strip()
            if name and len(name.split()) <= 3:
                return name
    if named := _root_projects(facts):
        return named[0]
    tops = {module_name(fact).split(".")[0] for fact in facts if fact.kind == "module"}
    return tops.pop() if len(tops) == 1 else "the project"


def _title(text: str) -> str:
    """The first heading of words, or nothing where badges or prose come first."""
    found = re.match(
        r"\s*(?:<[^\n]*\n\s*)*(?:#{1,2}\s+([^\n<]*\w{2}[^\n<]*)|([^\n<\[]+)\n[=\-~*]{3,})[ \t]*(?:\n|$)", text
    )
    return (found[1] or found[2]) if found else ""


def answer_structure(focus: Sequence[Topic], passages: Sequence[Passage], facts: Sequence[Fact]) -> tuple[Claim, ...]:
    """One claim per named part of the topics in focus, in their order; no quote opens and defines at once."""
    pairs = part_claims(focus, passages, facts)
    named = [claim for _, claim in pairs]
    if "Overview" not in focus:
        return tuple(named)
    taken = {claim.evidence[0] for claim in named if claim.topic != "Packages"}
    most = 2 if len(focus) > 1 else 4
    sentences = overview(passages, [part for part, _ in pairs])
    opening = [claim for claim in sentences if claim.evidence[0] not in taken][:most]
    opened = {claim.evidence[0] for claim in opening}
    return (*opening, *(claim for claim in named if claim.evidence[0] not in opened))


def part_claims(
    focus: Sequence[Topic], passages: Sequence[Passage], facts: Sequence[Fact]
) -> tuple[tuple[Part, Claim], ...]:
    """Each named part of the topics in focus with the claim that defines it, in the order of the topics."""
    finder = DefinitionFinder(passages)
    parts = _without_whole(find_parts(passages, facts), focus, _project_names(passages, facts))
    return tuple(pair for topic in focus for pair in _of_topic(topic, parts, finder))


def _without_whole(parts: Sequence[Part], focus: Sequence[Topic], names: frozenset[str]) -> list[Part]:
    """A library's own package is what the overview describes, so it is no part of itself."""
    if "Overview" not in focus or any(part.topic == "Services" for part in parts):
        return list(parts)
    return [part for part in parts if part.topic != "Packages" or stem(part.name) not in names] or list(parts)


def _of_topic(topic: Topic, parts: Sequence[Part], finder: DefinitionFinder) -> list[tuple[Part, Claim]]:
    """Parts that nothing defines are named by their declaration; jobs of compose not where enough services are."""
    found = [(part, part_claim(part, finder)) for part in parts if part.topic == topic][:_MOST_PER_TOPIC]
    made = [(part, claim) for part, claim in found if claim]
    defined = [(part, claim) for part, claim in made if not is_declared_only(claim)]
    if topic == "Services" and len(defined) >= _ENOUGH_SERVICES:
        return [
            (part, claim) for part, claim in made if _is_built_here(part) or finder.best(part, least=_GOOD_DEFINITION)
        ]
    modules = [
        (part, claim)
        for part, claim in made
        if "." not in part.name or not is_declared_only(claim) or any(is_project(fact) for fact in part.facts)
    ]
    return modules if topic == "Packages" and len(modules) >= _ENOUGH_MODULES else made


def _is_built_here(part: Part) -> bool:
    return any(fact.kind == "service" for fact in part.facts)


def overview(passages: Sequence[Passage], parts: Sequence[Part] = ()) -> list[Claim]:
    """The sentences that open the root's README and architecture page: the first, then those that name most parts."""
    sentences = list(islice(_opening_sentences(passages), _MOST_OPENING_SENTENCES))
    mentions = [part.mention() for part in parts if part.topic != "Packages"]
    rest = sorted(sentences[1:], key=lambda found: -sum(bool(mention.search(found.text)) for mention in mentions))
    return [claim(found, topic="Overview") for found in (*sentences[:1], *rest)]


def _opening_sentences(passages: Sequence[Passage]) -> Iterator[Statement]:
    openings = sorted(
        (passage for passage in passages if is_prominent(passage.path) and passage.start_line <= _OPENING_LINES),
        key=lambda passage: (
            not passage.path.lower().startswith("readme"),
            passage.path.count("/"),
            passage.path,
            passage.start_line,
        ),
    )
    for passage in openings:
        for statement in split(passage):
            if statement.kind == "sentence" and len(statement.text) >= 20 and not statement.text.endswith((":", "?")):
                yield statement


def part_claim(part: Part, finder: DefinitionFinder) -> Claim | None:
    """The part named, defined as well as the passages allow, and cited; None when nothing can be cited."""
    declared = [fact_evidence(fact) for fact in part.facts if fact.quote.strip()]
    statement = finder.best(part, least=_GOOD_DEFINITION if part.topic == "Services" else WORST_DEFINITION)
    if statement is None:
        if described := _described(part) or _listed(part, finder, declared):
            return described
        statement = finder.best(part)
    return _defined(part, statement, declared) if statement else _declared(part, declared)


def _defined(part: Part, statement: Statement, declared: Sequence[Evidence]) -> Claim:
    evidence: tuple[Evidence, ...] = (statement.evidence,)
    if declared and not part.mention().search(statement.evidence.quote) and declared[0] != statement.evidence:
        evidence = (*evidence, declared[0])
    return Claim(text=_text(part, statement), evidence=evidence, origin="extracted", topic=part.topic)


def _described(part: Part) -> Claim | None:
    """What its own manifest says of it."""
    for fact in part.facts:
        found = _DESCRIPTION.search(fact.quote)
        if found and is_project(fact):
            text = f"`{part.name}`: {sentence(found[1])}"
            return Claim(text=text, evidence=(fact_evidence(fact),), origin="extracted", topic=part.topic)
    return None


def _listed(part: Part, finder: DefinitionFinder, declared: Sequence[Evidence]) -> Claim | None:
    """Without any documentation a part is described by the names that it defines."""
    if part.topic not in {"Services", "Packages"}:
        return None
    found = finder.definitions(part)
    if not found:
        return None
    names = [f"`{statement.subject}`" for statement in found]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    evidence = tuple(dict.fromkeys([*declared[:1], *(statement.evidence for statement in found)]))
    text = f"`{part.name}` ({_kind(part)}) defines {listed}."
    return Claim(text=text, evidence=evidence, origin="extracted", topic=part.topic)


def _kind(part: Part) -> str:
    if part.topic == "Packages":
        is_project_of_its_own = any(is_project(fact) for fact in part.facts)
        return "package" if is_project_of_its_own or ("." not in part.name and part.facts[0].quote) else "module"
    singular = {"Services": "service", "Infrastructure": "infrastructure", "Tables": "table", "Routes": "route"}
    return singular.get(part.topic, "RPC service")


def _declared(part: Part, declared: Sequence[Evidence]) -> Claim | None:
    if not declared:
        return None
    text = f"`{part.name}` ({_kind(part)}{_DECLARED}{declared[0].path}`."
    return Claim(text=text, evidence=(declared[0],), origin="extracted", topic=part.topic)


def is_declared_only(claim: Claim) -> bool:
    """Whether the claim says no more than where its part is declared."""
    return _DECLARED in claim.text


def is_listed(claim: Claim) -> bool:
    """Whether the claim says no more than which names its part defines."""
    return re.match(r"`[^`]+` \((?:service|package|module)\) defines `", claim.text) is not None


def _named_once(part: Part, text: str) -> str:
    """Only a text that does not begin with the part's name is put after it."""
    found = part.mention().search(text)
    if found and "`" not in text[: found.start()] and len(text[: found.start()].split()) <= 1:
        marked = found.group() if text[: found.end() + 1].endswith("`") else f"`{found.group()}`"
        return sentence(f"{text[: found.start()]}{marked}{text[found.end() :]}")
    return f"`{part.name}`: {sentence(text)}"


def _text(part: Part, statement: Statement) -> str:
    text = statement.text
    found = part.mention().search(text)
    if statement.kind == "definition" and part.topic == "Packages":
        return f"`{part.name}` defines `{statement.subject}`: {sentence(text)}"
    if found and len(text[: found.start()].split()) <= 1:
        after = SEPARATOR.match(text[found.end() :])
        if after and found.start() <= 1:
            return _named_once(part, text[found.end() + after.end() :].strip())
        if part.topic == "Services" and text[: found.start()].endswith("`"):
            return sentence(text)
    if found and found.start() == 0 and statement.kind in {"sentence", "item"}:
        return sentence(f"`{text[: found.end()]}`{text[found.end() :]}")
    if found and len(text[: found.start()].strip("`* ").split()) <= 1 and statement.kind == "sentence":
        return sentence(text)
    if statement.kind == "row" and statement.subject.strip("`") != part.name:
        lead, _, rest = text.partition(": ")
        text = rest if rest and lead.strip("`") == statement.subject.strip("`") else text
    return _named_once(part, text)
