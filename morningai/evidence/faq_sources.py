"""Where questions come from: parts, commands, sections, tables and RPCs, and documented public definitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from morningai.evidence.definition_finder import is_public, is_type
from morningai.evidence.forms import DANGLING
from morningai.evidence.headings import heading_question
from morningai.evidence.model import Claim, Fact, Passage
from morningai.evidence.parts import Part, Topic
from morningai.evidence.paths import is_prose, is_settings, path_prior
from morningai.evidence.ranking import split
from morningai.evidence.statements import Statement, claim, sentence
from morningai.evidence.structure import is_declared_only, is_listed, part_claims, project_name
from morningai.evidence.words import stem

_TARGETS = {
    "test": "How do I run the tests?",
    "tests": "How do I run the tests?",
    "check": "How do I check the code?",
    "lint": "How do I check the code?",
    "build": "How do I build it?",
    "run": "How do I start it?",
    "start": "How do I start it?",
    "serve": "How do I start it?",
    "up": "How do I start it?",
    "dev": "How do I start it?",
    "install": "How do I install it?",
    "setup": "How do I set it up?",
    "demo": "How do I see a demonstration?",
    "docs": "How do I build the documentation?",
    "format": "How do I format the code?",
}
_QUIET = re.compile(
    r"(?:^|/)(?:tests?|changelog|changes|history|licen[sc]e|code[_-]of[_-]conduct|todo|maintainers|authors|contributors)(?:[./_-]|$)",
    re.IGNORECASE,
)
_PART_WEIGHTS = {"Services": 1.3, "Infrastructure": 0.85, "RPC services": 0.65, "Tables": 0.5}
_LIST_WEIGHT, _CONTENT_WEIGHT, _VALUE_WEIGHT, _PLACE_WEIGHT = 0.4, 0.3, 0.15, 0.1
_LISTS: dict[Topic, str] = {
    "Routes": "Which routes are there?",
    "Tables": "Which tables are there?",
}
_MOST_LISTED, _FEWEST_LISTED = 5, 2
_MOST_READ = 1200
_SCHEMA_WEIGHT = 0.6
_MOST_SECTION_CLAIMS = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """A question with its claims before the choice; a higher score is a better item."""

    kind: str
    question: str
    claims: tuple[Claim, ...]
    score: float

    @property
    def path(self) -> str:
        return self.claims[0].evidence[0].path


def find_drafts(passages: Sequence[Passage], facts: Sequence[Fact]) -> list[Draft]:
    name = project_name(passages, facts)
    read = [passage for passage in passages if not _QUIET.search(passage.path)][:_MOST_READ]
    mentions = Counter(
        word for passage in read if is_prose(passage.path) for word in re.findall(r"\w{4,}", passage.text)
    )
    drafts = [*_from_parts(passages, facts), *_from_lists(passages, facts)]
    for passage in read:
        if is_settings(passage.path):
            drafts.extend(_from_targets(passage))
        elif is_prose(passage.path):
            drafts.extend(_from_section(passage, name))
        elif not passage.path.endswith(".sql"):
            drafts.extend(_from_definition(passage, mentions))
    return drafts


def _from_parts(passages: Sequence[Passage], facts: Sequence[Fact]) -> Iterator[Draft]:
    for part, made in part_claims(("Services", "Infrastructure", "RPC services", "Tables"), passages, facts):
        if is_declared_only(made):
            continue
        if is_listed(made):
            yield Draft("content", f"What does `{part.name}` define?", (made,), _CONTENT_WEIGHT)
            continue
        if part.topic == "RPC services" and made.evidence[0].path not in {fact.path for fact in part.facts}:
            continue  # a mention elsewhere seldom says what it is for
        if part.topic == "Infrastructure" and not part.mention().search(made.evidence[0].quote):
            continue
        yield Draft(part.topic, _part_question(part), (made,), _PART_WEIGHTS[part.topic])


def _from_lists(passages: Sequence[Passage], facts: Sequence[Fact]) -> Iterator[Draft]:
    """What a repository declares a number of; without documentation it is nearly all that can be said."""
    for part, made in part_claims(("Packages",), passages, facts):
        if is_listed(made):
            yield Draft("content", f"What does `{part.name}` define?", (made,), _CONTENT_WEIGHT)
    for topic, question in _LISTS.items():
        claims = [made for _, made in part_claims((topic,), passages, facts)]
        if len(claims) >= _FEWEST_LISTED:
            yield Draft("list", question, tuple(claims[:_MOST_LISTED]), _LIST_WEIGHT)


def _part_question(part: Part) -> str:
    match part.topic:
        case "Services":
            return f"What does the `{part.name}` service do?"
        case "Infrastructure":
            return f"What is {part.name} used for?"
        case "Tables":
            return f"What is the table `{part.name}` for?"
        case _:
            return f"What is `{part.name}` for?"


def _from_targets(passage: Passage) -> Iterator[Draft]:
    for statement in split(passage):
        if statement.kind != "command" or "/" in passage.path:
            continue
        question = _TARGETS.get(statement.subject, "")
        text = f"Run `make {statement.subject}`: {sentence(statement.text)}"
        if not question and statement.text.startswith("it runs"):
            continue
        made = Claim(text, (statement.evidence,), "extracted")
        yield Draft(
            "command", question or f"What does `make {statement.subject}` do?", (made,), 0.95 if question else 0.6
        )


def _from_section(passage: Passage, name: str) -> Iterator[Draft]:
    statements = list(split(passage))
    for heading in dict.fromkeys(statement.heading for statement in statements if statement.heading):
        inside = [statement for statement in statements if statement.heading == heading]
        question, natural = heading_question(heading, passage.text, name)
        chosen = _section_answer(inside, wants_command=question.startswith("How do I"))
        if question and chosen and not _is_about_another(question, heading, passage.path, name):
            score = natural * (0.9 if chosen[0].kind == "sentence" else 0.8) * _document_weight(passage.path)
            yield Draft("section", question, tuple(claim(statement) for statement in chosen), score)


def _is_about_another(question: str, heading: str, path: str, name: str) -> bool:
    """A general heading such as "Configuration" deep in the documentation is about its page, not about the project."""
    general = name in question and name.lower() not in heading.lower()
    page = PurePosixPath(path).stem.lower()
    return general and "/" in path and page not in {"index", "readme"} and stem(heading.split()[0]) not in page


def _section_answer(statements: Sequence[Statement], *, wants_command: bool) -> list[Statement]:
    """The first sentences that can stand alone; for a "how" question the first command leads."""
    readable = [
        statement
        for statement in statements
        if statement.kind in {"sentence", "item", "row"} and len(statement.text) >= 30 and _stands_alone(statement.text)
    ]
    commands = [statement for statement in statements if statement.kind == "command"][:1]
    opening = [statement for statement in readable if statement.kind == "sentence"] or readable
    if wants_command and commands:
        return [*commands, *opening[:1]]
    return opening[:_MOST_SECTION_CLAIMS]


def _stands_alone(text: str) -> bool:
    return not DANGLING.match(text) and not text.endswith((":", "?")) and len(text) <= 320


def _document_weight(path: str) -> float:
    depth = len(PurePosixPath(path).parts)
    return path_prior(path) * (1.0 if depth == 1 else 0.9 if depth == 2 else 0.75)


def _from_definition(passage: Passage, mentions: Counter[str]) -> Iterator[Draft]:
    for statement in split(passage):
        if statement.kind != "definition":
            continue
        if len(statement.text) < 25 or not _stands_alone(statement.text):
            yield from _from_bare_definition(statement)
            continue
        name = statement.subject.rsplit(".", 1)[-1]
        is_constant = name.isupper() and len(name) > 1
        if name.startswith("_") or is_constant or statement.subject.count(".") > 1:
            continue
        # A lower-case word such as `show` is mentioned everywhere, and mostly not as the function.
        is_telling = name == statement.subject and not (name.isalpha() and name.islower())
        known = 0.45 + 0.06 * min(mentions[name], 5) if is_telling else 0.35
        score = known * path_prior(passage.path) * (_SCHEMA_WEIGHT if passage.path.endswith(".proto") else 1.0)
        yield Draft("definition", _definition_question(statement), (claim(statement),), score)


def _from_bare_definition(statement: Statement) -> Iterator[Draft]:
    """Without documentation: a constant's value, and where a public name is."""
    name = statement.subject
    if statement.text or not is_public(statement) or path_prior(statement.passage.path) < 1.0:
        return
    made = claim(statement)
    if name.isupper() and ": `" in made.text:
        yield Draft("value", f"What is `{name}` set to?", (made,), _VALUE_WEIGHT)
    elif len(name) >= 4:
        yield Draft("place", f"Where is `{name}` defined?", (made,), _PLACE_WEIGHT)


def _definition_question(statement: Statement) -> str:
    is_function = not is_type(statement) and not statement.subject.rsplit(".", 1)[-1].isupper()
    return f"What does `{statement.subject}` do?" if is_function else f"What is `{statement.subject}`?"
