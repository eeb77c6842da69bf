"""The best defining statement of a named part: by its form (`X is`, `X: …`, a table row), then by where it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from morningai.evidence.forms import DANGLING
from morningai.evidence.model import Passage
from morningai.evidence.parts import Part
from morningai.evidence.paths import is_prominent, is_prose, is_settings, path_prior
from morningai.evidence.ranking import split
from morningai.evidence.statements import Statement
from morningai.evidence.words import stems

WORST_DEFINITION = 0.5
_TYPE_KEYWORDS = "class|interface|struct|enum|record|trait|type|protocol|message|service"
_FLAT_SUFFIXES = (".py", ".js", ".ts", ".go", ".rs")
_LINK_TARGET = re.compile(r"\]\(\.{0,2}/?([\w./-]+?)/?(?:README\.\w+)?\)", re.IGNORECASE)
_PASSAGES_READ = 40
_MANY_BACKTICKS = 8
_MOST_DEFINITIONS = 3
_DOCUMENTATION_MARKS = frozenset(('""', "''", 'r"', "//", "/*", "--"))
_IS_A = re.compile(r"^[`*]*\s*(?:is|are)\s+(?:a|an|the|one|our)\b")
_ARTICLE = re.compile(r"^(?:the|a|an|our|each|every)?\s*[`*\"“]*$", re.IGNORECASE)
_VERB = re.compile(
    r"^[`*\"”’)]*\s*(?:\([^)]*\)\s*)?(?:service|server|package|module|database|queue)?\s*"
    r"(?:is|are|was|can|serves?|does|provides?|handles?|holds?|keeps?|stores?|runs?|carries|authenticates?|owns?|lets?|"
    r"exposes?|implements?|contains?|manages?|listens?|processes|sends?|receives?|connects?|answers?|admits?|turns?|acts?|(?!this|its|as|has|thus|always)[a-z]+s)\b"
)  # fmt: skip
SEPARATOR = re.compile(r"^[`*\"”’)]*\s*(?:\([^)]*\)\s*)?(?::|–|—|--|-(?=\s)|→|\|)")


@dataclass(slots=True)
class DefinitionFinder:
    """Finds the best defining statement of a part; passages are split once and only when they mention a part."""

    passages: Sequence[Passage]
    _split: dict[int, tuple[Statement, ...]] = field(default_factory=dict)
    _lowered: list[str] = field(default_factory=list)

    def best(self, part: Part, *, least: float = WORST_DEFINITION) -> Statement | None:
        mention = part.mention()
        scored = [
            (definition_score(statement, part, mention), -index, -statement.start, statement)
            for index in self._candidates(part)
            for statement in self._statements(index)
        ]
        best = max(scored, key=lambda entry: entry[:3], default=None)
        return best[3] if best and best[0] >= least else None

    def definitions(self, part: Part) -> list[Statement]:
        """Public names that the part's own files define, at most three of different files where there are so many."""
        homes = _homes(part)
        folders = tuple(f"{home.rpartition('/')[0]}/" for home in homes if _covers_folder(home) and "/" in home)
        found = [
            statement
            for index, passage in enumerate(self.passages)
            if (passage.path in homes or passage.path.startswith(folders)) and _is_own_code(passage.path)
            for statement in self._statements(index)
            if statement.kind == "definition" and is_public(statement) and not statement.subject.isupper()
        ]
        found.sort(
            key=lambda statement: (
                not is_type(statement),
                not _shares_name(statement, part),
                statement.passage.path,
                statement.start,
            )
        )
        return _of_different_files(found)[:_MOST_DEFINITIONS]

    def _statements(self, index: int) -> tuple[Statement, ...]:
        if index not in self._split:
            self._split[index] = tuple(split(self.passages[index]))
        return self._split[index]

    def _candidates(self, part: Part) -> list[int]:
        if not self._lowered:
            self._lowered.extend(passage.text.lower() for passage in self.passages)
        homes = _homes(part)
        folders = {home.rpartition("/")[0] for home in homes} - {""}
        aliases = [alias.lower() for alias in part.aliases]
        ordered = [
            (_home_rank(passage, homes), -_location(passage, part), index)
            for index, (passage, lowered) in enumerate(zip(self.passages, self._lowered, strict=True))
            if any(alias in lowered for alias in aliases)
            or passage.path in homes
            or passage.path.rpartition("/")[0] in folders
        ]
        return [index for *_, index in sorted(ordered)[:_PASSAGES_READ]]


def _covers_folder(home: str) -> bool:
    """Whether the file stands for all that lies beside and below it."""
    return is_settings(home) or home.endswith((".csproj", ".fsproj", ".vbproj", "__main__.py", "__init__.py"))


def _is_own_code(path: str) -> bool:
    return not is_prose(path) and not is_settings(path) and path_prior(path) >= 1.0


def is_type(statement: Statement) -> bool:
    """Whether a class or the like is defined, and not a function."""
    name = re.escape(statement.subject.rsplit(".", 1)[-1])
    quote = statement.passage.text[statement.start : statement.end]
    return re.search(rf"\b(?:{_TYPE_KEYWORDS})\s+{name}\b", quote) is not None


def _shares_name(statement: Statement, part: Part) -> bool:
    return not frozenset(stems(statement.subject)).isdisjoint(stems(part.name))


def _of_different_files(found: Sequence[Statement]) -> list[Statement]:
    """One of each file first, then the others."""
    named = {statement.subject: statement for statement in reversed(found)}.values()
    firsts = {statement.passage.path: statement for statement in reversed(found)}.values()
    ordered = [statement for statement in found if statement in firsts and statement in named]
    return [*ordered, *(statement for statement in found if statement in named and statement not in ordered)]


def _homes(part: Part) -> frozenset[str]:
    return frozenset(fact.path for fact in part.facts if fact.kind in {"service", "module"})


def _home_rank(passage: Passage, homes: frozenset[str]) -> int:
    return 0 if passage.path in homes or is_prominent(passage.path) else 1


def _location(passage: Passage, part: Part) -> float:
    path = passage.path.lower()
    folders = path.split("/")[:-1]
    own = any(alias.lower() in folders for alias in part.aliases)
    if is_prominent(passage.path):
        return 1.2
    if own and path.rpartition("/")[2].startswith("readme"):
        return 1.25
    if is_settings(passage.path):
        return 0.45
    return (1.0 if is_prose(passage.path) else 0.75) * path_prior(passage.path) * (1.1 if own else 1.0)


def definition_score(statement: Statement, part: Part, mention: re.Pattern[str]) -> float:
    """How well a statement defines a part: by its form, then by where it stands."""
    form = _form(statement, part, mention)
    if not form:
        return 0.0
    if statement.kind in {"sentence", "comment", "item"}:
        form *= 0.55 if DANGLING.match(statement.text) else 1.0
        form *= 0.6 if statement.text.endswith((":", "?")) or len(statement.text) < 20 else 1.0
        form *= 0.85 if len(statement.text) > 260 else 1.0
    if statement.kind in {"sentence", "comment", "item", "row"}:
        form *= 0.3 if statement.text.count("`") >= _MANY_BACKTICKS else 1.0
    return form * _location(statement.passage, part)


def _form(statement: Statement, part: Part, mention: re.Pattern[str]) -> float:
    if _opens_home(statement, part):
        return 1.0
    if statement.kind in {"sentence", "item", "row"} and _links_to(statement, part):
        return 1.05
    subject = mention.fullmatch(statement.subject.strip("`* ")) is not None
    if statement.kind in {"row", "item"} and subject:
        return 1.05
    if statement.kind == "definition":
        return _main_definition(statement, part)
    if statement.kind in {"setting", "code", "command"}:
        return 0.0
    if statement.kind == "row" and part.topic in {"Services", "RPC services", "Tables"}:
        return 0.0  # it is about what stands in its first cell
    found = mention.search(statement.text)
    if statement.kind == "sentence" and mention.fullmatch(statement.heading.strip("`* ")):
        return 0.9
    if not found:
        return 0.0
    before = statement.text[: found.start()]
    after = statement.text[found.end() :]
    marked = 1.12 if before.endswith(("`", "*")) else 1.0
    if _ARTICLE.match(before) and SEPARATOR.match(after):
        return 1.0 * marked
    if _ARTICLE.match(before) and _VERB.match(after):
        return (1.0 if _IS_A.match(after) else 0.9) * marked
    least = 0.35 if part.topic == "Packages" else 0.6 if statement.kind == "sentence" else 0.5
    return least * marked


def _links_to(statement: Statement, part: Part) -> bool:
    """Whether it links to the folder that is called like the part, as lists of parts in a README do."""
    quote = statement.passage.text[statement.start : statement.end]
    folders = {target.rstrip("/").rpartition("/")[2].lower() for target in _LINK_TARGET.findall(quote)}
    return part.topic in {"Services", "Packages"} and not folders.isdisjoint(alias.lower() for alias in part.aliases)


def _main_definition(statement: Statement, part: Part) -> float:
    """The definition that stands for its module: named like it, else a class, hardly ever an exception."""
    if not statement.text:
        return 0.0
    if part.topic in {"RPC services", "Tables"} and statement.subject.lower() == part.name.lower():
        return 1.3
    if statement.passage.path not in _homes(part) or not is_public(statement):
        return 0.0
    if statement.subject.isupper():
        return 0.0
    if re.search(r"(?:Error|Exception|Warning)$|^No[A-Z]", statement.subject):
        return 0.5
    if statement.subject.lower().startswith(part.name.rsplit(".", 1)[-1].rstrip("s").lower()):
        return 0.95
    return 0.85 if statement.subject[:1].isupper() else 0.75


def is_public(statement: Statement) -> bool:
    line = statement.passage.text[: statement.start].rpartition("\n")[2]
    margin = 1 if line.lstrip().startswith("*") else 0  # of a block comment
    is_indented = len(line) - len(line.lstrip()) > margin
    nested = is_indented and statement.passage.path.endswith(_FLAT_SUFFIXES)
    return not nested and "." not in statement.subject and not statement.subject.startswith("_")


def _opens_home(statement: Statement, part: Part) -> bool:
    """Whether it is the first sentence of the part's own README or of its module's documentation."""
    passage = statement.passage
    folders = passage.path.lower().split("/")[:-1]
    if passage.start_line > 3 or statement.start > 240:
        return False
    name = passage.path.lower().rpartition("/")[2]
    in_own_folder = bool(folders) and any(
        folders[-1] in {alias.lower(), alias.lower().rsplit(".", 1)[-1]} for alias in part.aliases
    )
    if name.startswith("readme") and in_own_folder:
        return statement.kind == "sentence"
    if passage.path.endswith(".go"):  # the comment above the first function is about that function
        quote = passage.text[statement.start : statement.end]
        return statement.kind == "comment" and any(quote in fact.quote for fact in part.facts)
    if "*/" in passage.text[: statement.start] or _ends_comment(passage.text[: statement.start]):
        return False
    is_documentation = statement.kind == "comment" and passage.text.lstrip()[:2] in _DOCUMENTATION_MARKS
    return passage.path in _homes(part) and is_documentation and not _named_symbol(statement)


def _ends_comment(head: str) -> bool:
    """Whether a blank line parts a statement from the line comments that open the file."""
    return head.startswith(("//", "--")) and "\n\n" in head


def _named_symbol(statement: Statement) -> bool:
    head = statement.passage.text[: statement.start]
    return bool(re.search(r"(?m)^\s*(?:def|class|func|fn|export)\b", head))
