"""Documents: an answer as Markdown with its metadata, and a verifier that needs the files alone.

Invariant: `content_hash` is the SHA-256 of the whole text without its own line, so that any changed byte is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

from morningai.errors import InvalidInput
from morningai.evidence.markdown import EXTRACTED_MARK, answer_body, heading
from morningai.evidence.model import Answer, Evidence
from morningai.evidence.quotes import check_evidence

ReadFile = Callable[[str], str | None]
ProblemKind = Literal["malformed", "hash", "commit", "citation", "source", "file", "quote"]
EXTRACTIVE = "extractive"
_HASH_LINE = re.compile(r'(?m)^content_hash: "(sha256:[0-9a-f]{64})"\n')
_ENTRY = re.compile(
    r"^\[(?P<number>\d+)\] (?P<marks>`+) ?(?P<path>[^\n]+?):(?P<start>\d+)(?:-(?P<end>\d+))? ?(?P=marks) "
    r"@(?P<commit>[0-9a-f]{7})\n\n"
    r"(?P<fence>`{3,})text\n(?P<quote>.*?)\n(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"(?<!\\)\[(\d+)\]")
_CODE_SPAN = re.compile(r"`+[^`\n]*`+")


@dataclass(frozen=True, slots=True)
class DocumentMetadata:
    """Where a document comes from; `model` and `prompt_version` are empty for the extractive engine."""

    task: str
    trace_id: str
    engine: str
    model: str
    prompt_version: str
    repository: str
    commit: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was read back; `sources` are `path@blob`, `citations` the numbered evidence of its body."""

    metadata: DocumentMetadata
    sources: tuple[str, ...]
    content_hash: str
    body: str
    citations: tuple[tuple[int, Evidence], ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What the verifier found wrong, and where: a citation's number, a path, or a field."""

    kind: ProblemKind
    where: str
    detail: str


def compose_document(instruction: str, answer: Answer, metadata: DocumentMetadata) -> str:
    """The document: metadata block, title, summary, sections of claims, sources."""
    text = f"{_front_matter(answer, metadata)}# {heading(_title(instruction))}\n\n{_body(answer, metadata)}"
    return _HASH_LINE.sub(lambda _: f'content_hash: "{content_hash(text)}"\n', text, count=1)


def content_hash(text: str) -> str:
    """The hash of a document's text, its own line left out."""
    return f"sha256:{hashlib.sha256(_HASH_LINE.sub('', text, count=1).encode()).hexdigest()}"


def _body(answer: Answer, metadata: DocumentMetadata) -> str:
    by_model = metadata.engine != EXTRACTIVE
    return answer_body(answer, mark_extracted=by_model, note=_note(answer, by_model=by_model))


def _note(answer: Answer, *, by_model: bool) -> str:
    evidence = {item for claim in answer.claims for item in claim.evidence}
    files = len({item.path for item in evidence})
    counted = f"{_count(len(answer.claims), 'claim')} from {_count(len(evidence), 'place')} in {_count(files, 'file')}"
    marked = f" Claims marked{EXTRACTED_MARK} were quoted by the program, not written by the model." if by_model else ""
    return f"{counted}; each quote was found in its file.{marked}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _title(instruction: str) -> str:
    text = " ".join(instruction.split())
    return text if len(text) <= 120 else f"{text[:117].rsplit(' ', 1)[0]}…"


def _front_matter(answer: Answer, metadata: DocumentMetadata) -> str:
    given = [f"{item.name}: {json.dumps(getattr(metadata, item.name))}\n" for item in fields(metadata)]
    blobs = sorted({f"{item.path}@{item.blob_hash}" for claim in answer.claims for item in claim.evidence})
    sources = "sources:\n" + "".join(f"  - {json.dumps(blob)}\n" for blob in blobs) if blobs else "sources: []\n"
    return f'---\n{"".join(given)}{sources}content_hash: "sha256:{"0" * 64}"\n---\n\n'


def parse_document(text: str) -> Document:
    """Reads a composed document back; InvalidInput when it is none."""
    matched = re.match(r"---\n(.*?\n)---\n\n", text, re.DOTALL)
    if matched is None:
        raise InvalidInput("document", "has no metadata block", remedy="Give a document that MorningAI composed.")
    values, sources = _read_block(matched.group(1))
    names = [item.name for item in fields(DocumentMetadata)]
    missing = [name for name in [*names, "content_hash"] if name not in values]
    if missing:
        raise InvalidInput("document", f"metadata lacks {', '.join(missing)}", remedy="Restore the metadata block.")
    metadata = DocumentMetadata(**{name: values[name] for name in names})
    body = text[matched.end() :]
    return Document(metadata, sources, values["content_hash"], body, tuple(_citations(body, metadata, sources)))


def _read_block(block: str) -> tuple[dict[str, str], tuple[str, ...]]:
    values: dict[str, str] = {}
    sources: list[str] = []
    for line in block.splitlines():
        name, _, value = line.partition(": ")
        try:
            if line.startswith("  - "):
                sources.append(str(json.loads(line[4:])))
            elif value and value != "[]":
                values[name] = str(json.loads(value))
        except json.JSONDecodeError as error:
            raise InvalidInput("document", f"metadata line {line!r} cannot be read") from error
    return values, tuple(sources)


def _citations(body: str, metadata: DocumentMetadata, sources: tuple[str, ...]) -> Iterator[tuple[int, Evidence]]:
    blobs = dict(source.rsplit("@", 1) for source in sources if "@" in source)
    _, _, listed = body.partition("\n## Sources\n")
    for entry in _ENTRY.finditer(listed):
        start = int(entry["start"])
        commit = metadata.commit if metadata.commit.startswith(entry["commit"]) else entry["commit"]
        path = entry["path"]
        yield (
            int(entry["number"]),
            Evidence(path, commit, blobs.get(path, ""), start, int(entry["end"] or start), entry["quote"]),
        )


def verify_document(text: str, read_file: ReadFile) -> list[Problem]:
    """Re-checks hash, citations and every quote; `read_file` gives a path's text at the document's commit, or None."""
    try:
        document = parse_document(text)
    except InvalidInput as error:
        return [Problem("malformed", error.field, error.problem)]
    problems = []
    if content_hash(text) != document.content_hash:
        problems.append(Problem("hash", "content_hash", "the text is not the one that was hashed"))
    problems.extend(_numbering_problems(document))
    for number, evidence in document.citations:
        problems.extend(_evidence_problems(number, evidence, document, read_file))
    return problems


def _numbering_problems(document: Document) -> Iterator[Problem]:
    claims = document.body.partition("\n## Sources\n")[0]
    used = {int(number) for number in _MARK.findall(_CODE_SPAN.sub("", claims))}
    known = {number for number, _ in document.citations}
    yield from (
        Problem("citation", f"[{number}]", "is cited but not among the sources") for number in sorted(used - known)
    )
    yield from (Problem("citation", f"[{number}]", "is a source that nothing cites") for number in sorted(known - used))
    cited = {evidence.path for _, evidence in document.citations}
    named = {source.rsplit("@", 1)[0] for source in document.sources}
    yield from (
        Problem("source", path, "is named in one of metadata and citations only") for path in sorted(cited ^ named)
    )


def _evidence_problems(number: int, evidence: Evidence, document: Document, read_file: ReadFile) -> Iterator[Problem]:
    where = f"[{number}] {evidence.path}:{evidence.start_line}-{evidence.end_line}"
    if evidence.commit != document.metadata.commit:
        yield Problem("commit", where, "is of another commit than the document")
        return
    content = read_file(evidence.path)
    if content is None:
        yield Problem("file", where, "does not exist at this commit")
    elif not check_evidence(evidence, content.split("\n")):
        yield Problem("quote", where, "does not stand in these lines")
