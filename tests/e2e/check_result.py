"""Holds a result of `morningai demo --json` against the repository, with git alone: nothing of MorningAI is imported.

`python tests/e2e/check_result.py RESULT.json [--repository FOLDER]` prints what is wrong and exits 1, or says what was
checked and exits 0. The folder defaults to the one the result names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

NAMES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy", "NATS")
FEWEST_QUESTIONS = 5
FEWEST_FILES = 4


class Evidence(TypedDict):
    path: str
    commit: str
    blob_hash: str
    start_line: int
    end_line: int
    quote: str


class Claim(TypedDict):
    text: str
    evidence: list[Evidence]


class Provenance(TypedDict):
    task: str
    trace_id: str
    engine: str
    commit: str


class Answer(TypedDict):
    found: bool
    claims: list[Claim]
    provenance: Provenance


class FaqItem(TypedDict):
    question: str
    claims: list[Claim]


class Faq(TypedDict):
    items: list[FaqItem]
    provenance: Provenance


class Document(TypedDict):
    content: str
    content_hash: str
    claims: list[Claim]
    provenance: Provenance


class Repository(TypedDict):
    path: str
    commit: str


class Task(TypedDict):
    name: str
    trace_id: str


class Result(TypedDict):
    repository: Repository
    answer: Answer
    faq: Faq
    document: Document
    tasks: list[Task]


@dataclass
class GitFiles:
    """Files of a repository as they are in a commit, read once each; None for one that is not there."""

    folder: Path
    _known: dict[tuple[str, str], bytes | None] = field(default_factory=dict)

    def content(self, commit: str, path: str) -> bytes | None:
        if (commit, path) not in self._known:
            self._known[commit, path] = self._show(commit, path)
        return self._known[commit, path]

    def _show(self, commit: str, path: str) -> bytes | None:
        command = ["git", "-C", str(self.folder), "show", "--no-textconv", f"{commit}:{path}"]
        done = subprocess.run(command, capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None


def problems_of(result: Result, repository: Path) -> list[str]:
    """Everything that is wrong, in words; empty when the result holds."""
    files = GitFiles(repository)
    commit = result["repository"]["commit"]
    return [
        *(f"{where}: {problem}" for where, one in citations(result) for problem in _wrong(one, files, commit)),
        *_uncited_claims(result),
        *_unnamed_parts(result["answer"]),
        *_thin_faq(result["faq"]),
        *_wrong_document(result["document"]),
        *_wrong_provenance(result),
    ]


def citations(result: Result) -> Iterator[tuple[str, Evidence]]:
    """Each piece of evidence and where it is in the result."""
    for where, claim in claims_of(result):
        for number, evidence in enumerate(claim["evidence"]):
            yield f"{where}.evidence[{number}]", evidence


def claims_of(result: Result) -> Iterator[tuple[str, Claim]]:
    for number, claim in enumerate(result["answer"]["claims"]):
        yield f"answer.claims[{number}]", claim
    for number, item in enumerate(result["faq"]["items"]):
        for inner, claim in enumerate(item["claims"]):
            yield f"faq.items[{number}].claims[{inner}]", claim
    for number, claim in enumerate(result["document"]["claims"]):
        yield f"document.claims[{number}]", claim


def _wrong(evidence: Evidence, files: GitFiles, commit: str) -> Iterator[str]:
    """At most one problem: the first that is found."""
    content = files.content(evidence["commit"], evidence["path"])
    place = f"{evidence['path']}:{evidence['start_line']}-{evidence['end_line']}"
    if evidence["commit"] != commit:
        yield f"{place} is cited at {evidence['commit']}, not at {commit}"
    elif content is None:
        yield f"{evidence['path']} is not in {commit}"
    elif evidence["blob_hash"] != _blob_hash(content):
        yield f"{place} names another blob than {commit} has"
    else:
        yield from _wrong_quote(evidence, _lines(content), place)


def _wrong_quote(evidence: Evidence, lines: list[str], place: str) -> Iterator[str]:
    first, last = evidence["start_line"], evidence["end_line"]
    if not 1 <= first <= last <= len(lines):
        yield f"{place} is outside of the {len(lines)} lines"
    elif not evidence["quote"].strip():
        yield f"{place} is cited without a quote"
    elif evidence["quote"] not in "\n".join(lines[first - 1 : last]):
        yield f"the quote is not in {place}: {evidence['quote'][:80]!r}"


def _blob_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lines(content: bytes) -> list[str]:
    """As line numbers count them; a file that is not UTF-8 is read as Latin-1."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.removesuffix("\n").split("\n")


def _uncited_claims(result: Result) -> Iterator[str]:
    for where, claim in claims_of(result):
        if not claim["evidence"]:
            yield f"{where} cites nothing: {claim['text'][:80]!r}"


def _unnamed_parts(answer: Answer) -> Iterator[str]:
    if not answer["found"]:
        yield "the answer was not found"
    for name in NAMES:
        word = re.compile(rf"\b{name}\b", re.IGNORECASE)
        if not any(word.search(claim["text"]) and claim["evidence"] for claim in answer["claims"]):
            yield f"no cited claim of the answer names {name}"


def _thin_faq(faq: Faq) -> Iterator[str]:
    questions = {" ".join(item["question"].casefold().split()) for item in faq["items"]} - {""}
    if len(questions) < FEWEST_QUESTIONS:
        yield f"the FAQ has {len(questions)} distinct questions, not {FEWEST_QUESTIONS}"
    if unanswered := [item["question"] for item in faq["items"] if not item["claims"]]:
        yield f"the FAQ does not answer {unanswered[0]!r}"
    files = {one["path"] for item in faq["items"] for claim in item["claims"] for one in claim["evidence"]}
    if len(files) < FEWEST_FILES:
        yield f"the FAQ cites {len(files)} files, not {FEWEST_FILES}"


def _wrong_document(document: Document) -> Iterator[str]:
    if not document["content"].strip():
        yield "the document is empty"
    if hashlib.sha256(document["content"].encode()).hexdigest() != document["content_hash"]:
        yield "the document's hash is not that of its content"


def _wrong_provenance(result: Result) -> Iterator[str]:
    traces = {task["name"]: task["trace_id"] for task in result["tasks"]}
    origins = {"answer": result["answer"], "faq": result["faq"], "document": result["document"]}
    for name, made in origins.items():
        provenance = made["provenance"]
        if not provenance["engine"]:
            yield f"{name} does not name its engine"
        if provenance["commit"] != result["repository"]["commit"]:
            yield f"{name} was made from {provenance['commit']}"
        if not provenance["trace_id"] or traces.get(provenance["task"]) != provenance["trace_id"]:
            yield f"{name} does not carry the trace ID of its task"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Checks the citations of a demo's result with git alone.")
    parser.add_argument("result", type=Path)
    parser.add_argument("--repository", type=Path)
    options = parser.parse_args(arguments)
    try:
        result: Result = json.loads(options.result.read_text(encoding="utf-8"))
        problems = problems_of(result, options.repository or Path(result["repository"]["path"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"{options.result} is no complete result: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    if not problems:
        count = sum(1 for _ in citations(result))
        print(f"{count} citations found in their lines at {result['repository']['commit']}.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
