from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from morningai.errors import InvalidInput
from morningai.evidence.documents import (
    DocumentMetadata,
    compose_document,
    content_hash,
    parse_document,
    verify_document,
)
from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Answer, Claim, Evidence, Fact, Passage

GOLDEN = Path(__file__).parent / "golden"
Repository = tuple[Sequence[Passage], Sequence[Fact]]
METADATA = DocumentMetadata(
    task="tenants/acme/tasks/7",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    engine="extractive",
    model="",
    prompt_version="",
    repository="https://example.org/platform.git",
    commit="0123456789abcdef0123456789abcdef01234567",
)


@pytest.fixture
def files(platform: Repository) -> dict[str, str]:
    return {passage.path: f"{passage.text}\n" for passage in platform[0]}


@pytest.fixture
def document(platform: Repository) -> str:
    answer = answer_extractively("What is the system architecture?", *platform)
    return compose_document("What is the system architecture?", answer, METADATA)


def test_a_document_reads_as_its_golden_file(document: str) -> None:
    assert document == (GOLDEN / "document.md").read_text()


def test_a_document_verifies_against_its_files(document: str, files: dict[str, str]) -> None:
    assert verify_document(document, files.get) == []


def test_a_document_can_be_read_back(document: str) -> None:
    parsed = parse_document(document)
    assert parsed.metadata == METADATA
    assert parsed.content_hash == content_hash(document)
    assert parsed.citations[0][1].quote == "Six services exchange events on NATS JetStream."


def test_every_changed_byte_is_noticed(document: str, files: dict[str, str]) -> None:
    changed = [
        document[:index] + ("x" if document[index] != "x" else "y") + document[index + 1 :]
        for index in range(0, len(document), 7)
    ]
    assert all(verify_document(text, files.get) for text in changed)


def test_a_changed_source_line_is_named(document: str, files: dict[str, str]) -> None:
    files["ARCHITECTURE.md"] = files["ARCHITECTURE.md"].replace("public door", "private door")
    assert [(problem.kind, problem.where) for problem in verify_document(document, files.get)] == [
        ("quote", "[6] ARCHITECTURE.md:8-8")
    ]


def test_a_missing_file_is_named(document: str, files: dict[str, str]) -> None:
    del files["services/codegen/README.md"]
    assert [problem.kind for problem in verify_document(document, files.get)] == ["file"]


def test_a_quote_forged_together_with_its_hash_is_noticed(document: str, files: dict[str, str]) -> None:
    forged = document.replace("The one public door, which authenticates keys.", "A door without any keys whatsoever.")
    forged = forged.replace(parse_document(forged).content_hash, content_hash(forged))
    assert [problem.kind for problem in verify_document(forged, files.get)] == ["quote"]


def test_a_claim_that_cites_nothing_known_is_noticed(document: str, files: dict[str, str]) -> None:
    forged = document.replace("keys. [6]", "keys. [99]", 1)
    assert {problem.kind for problem in verify_document(forged, files.get)} == {"hash", "citation"}


@pytest.mark.parametrize("quote", ["```\nfence\n```", "````", "text\n## Sources\n\n[1] `x:1` @0000000", "a\n---\nb"])
def test_no_quote_can_break_out_of_its_fence(quote: str) -> None:
    lines = quote.count("\n") + 1
    evidence = Evidence("odd `name`.md", METADATA.commit, "b" * 40, 1, lines, quote)
    answer = Answer(True, (Claim("A claim.", (evidence,), "extracted"),), ())
    text = compose_document("Odd", answer, METADATA)
    assert parse_document(text).citations == ((1, evidence),)
    assert verify_document(text, lambda path: quote) == []


def test_claims_that_no_model_wrote_are_marked_in_a_models_document(platform: Repository) -> None:
    answer = answer_extractively("Which services are there?", *platform)
    text = compose_document(
        "Services", answer, replace(METADATA, engine="local", model="tiny", prompt_version="answer.v1")
    )
    assert text.count("*(extracted)*") == len(answer.claims) + 1


def test_not_found_is_a_document_too(files: dict[str, str]) -> None:
    text = compose_document("Kafka?", Answer(False, (), ("looked for: Kafka",)), METADATA)
    assert "Not found in the sources." in text
    assert verify_document(text, files.get) == []


@pytest.mark.parametrize("text", ["", "# Just Markdown\n", "---\ntask: broken\n---\n\n", '---\ntask: "a"\n---\n\n'])
def test_what_is_no_document_says_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="document"):
        parse_document(text)
    assert [problem.kind for problem in verify_document(text, lambda path: None)] == ["malformed"]
