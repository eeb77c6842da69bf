"""Answers and FAQ items as Markdown with numbered citations; the same input gives the same bytes.

A citation `[1]` stands after the sentence; under "Sources" it names path, lines and commit, with the quote verbatim in
a fence that the quote cannot close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from morningai.evidence.model import Answer, Claim, Evidence, FaqItem
from morningai.evidence.paths import is_prose, is_settings

NOT_FOUND = "Not found in the sources."
EXTRACTED_MARK = " *(extracted)*"
_CODE_SPAN = re.compile(r"(`+[^`]*`+)")


@dataclass(slots=True)
class Citations:
    """Evidence numbered in the order of its first citation."""

    numbers: dict[Evidence, int] = field(default_factory=dict)

    def marks(self, evidence: Iterable[Evidence]) -> str:
        return "".join(f"[{self.numbers.setdefault(item, len(self.numbers) + 1)}]" for item in evidence)

    def sources(self) -> str:
        listed = "\n\n".join(source_entry(number, evidence) for evidence, number in self.numbers.items())
        return f"## Sources\n\n{listed}\n" if listed else ""


def render_answer(question: str, answer: Answer, *, mark_extracted: bool = False) -> str:
    """The question as title, a summary, sections, sources; with `mark_extracted` claims that no model wrote say so."""
    return f"# {heading(question)}\n\n{answer_body(answer, mark_extracted=mark_extracted)}"


def answer_body(answer: Answer, *, mark_extracted: bool, note: str = "") -> str:
    """The overview (or the first claim) as a paragraph, the other claims in sections, the sources."""
    if not answer.found:
        return f"{NOT_FOUND}\n\n## What was searched\n\n" + "".join(f"- {inline(entry)}\n" for entry in answer.searched)
    citations = Citations()
    opening = [claim for claim in answer.claims if claim.topic == "Overview"] or list(answer.claims[:1])
    summary = " ".join(_cited(claim, citations, mark_extracted) for claim in opening)
    sections = [
        f"## {title}\n\n" + "".join(f"- {_cited(claim, citations, mark_extracted)}\n" for claim in claims)
        for title, claims in sections_of([claim for claim in answer.claims if claim not in opening])
    ]
    return "\n".join([f"{summary}\n", *([f"{note}\n"] if note else []), *sections, citations.sources()])


def render_faq(title: str, items: Sequence[FaqItem], *, mark_extracted: bool = False) -> str:
    """One section per question, then the sources."""
    citations = Citations()
    sections = [
        f"## {heading(item.question)}\n\n"
        + "".join(f"{_cited(claim, citations, mark_extracted)}\n\n" for claim in item.claims)
        for item in items
    ]
    return f"# {heading(title)}\n\n{''.join(sections)}{citations.sources()}"


def sections_of(claims: Sequence[Claim]) -> list[tuple[str, list[Claim]]]:
    """Claims under their topic, else under the kind of file they come from, in order of appearance."""
    sections: dict[str, list[Claim]] = {}
    for claim in claims:
        sections.setdefault(claim.topic or _kind_of_source(claim.evidence[0].path), []).append(claim)
    return list(sections.items())


def _kind_of_source(path: str) -> str:
    if is_settings(path):
        return "From the configuration"
    return "From the documentation" if is_prose(path) else "From the code"


def _cited(claim: Claim, citations: Citations, mark_extracted: bool) -> str:
    mark = EXTRACTED_MARK if mark_extracted and claim.origin == "extracted" else ""
    return f"{inline(claim.text)}{mark} {citations.marks(claim.evidence)}"


def source_entry(number: int, evidence: Evidence) -> str:
    lines = f"{evidence.start_line}"
    if evidence.end_line != evidence.start_line:
        lines += f"-{evidence.end_line}"
    fence = "`" * max(3, 1 + _longest_backticks(evidence.quote))
    place = code_span(f"{evidence.path}:{lines}")
    return f"[{number}] {place} @{evidence.commit[:7]}\n\n{fence}text\n{evidence.quote}\n{fence}"


def heading(text: str) -> str:
    """One line, without what would end or restyle a heading."""
    return inline(" ".join(text.split()).strip("# ")) or "Untitled"


def inline(text: str) -> str:
    """Text on one line in which HTML outside of code spans is text, and no citation can be forged."""
    parts = _CODE_SPAN.split(" ".join(text.split()))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"\[(\d+)\]", r"\\[\1\\]", text.replace("<", "&lt;"))


def code_span(text: str) -> str:
    marks = "`" * (1 + _longest_backticks(text))
    return f"{marks}{text}{marks}" if len(marks) == 1 else f"{marks} {text} {marks}"


def _longest_backticks(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
