"""This repository, asked about without a model: cited answer, FAQ and document; and what has no answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from morningai.api.answers.v1.answers_pb2 import Answer
from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import models_pb2 as models
from morningai.cli.outcome import Outcome
from morningai.evidence.documents import parse_document, verify_document
from tests.e2e.model import scripted_model
from tests.e2e.platform import SERVICES, Platform, Tenant
from tests.e2e.replies import teach_everything
from tests.e2e.repositories import (
    calculator,
    clone_of_this_repository,
    git,
    knowledge,
    make_repository,
    make_word,
    question_about,
)

pytestmark = pytest.mark.xdist_group("answers")

QUESTION = "What is the system architecture?"
CHECKER = Path(__file__).with_name("check_result.py")


@pytest.fixture(scope="module")
def extractive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    settings = {"MORNINGAI_MODEL_EGRESS_ALLOWED": "127.0.0.1"}
    platform = Platform(tmp_path_factory.mktemp("extractive"), settings=settings)
    try:
        platform.start()
        yield platform
        assert platform.crashes() == []
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def asker(extractive: Platform) -> Iterator[Tenant]:
    with extractive.tenant() as tenant:
        yield tenant


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_of_this_repository(tmp_path_factory.mktemp("repository") / "morningai")


@pytest.fixture(scope="module")
def source(asker: Tenant, repository: Path) -> str:
    return asker.add_source(repository, source_id="morningai")


@pytest.fixture(scope="module")
def outcome(asker: Tenant, source: str) -> Outcome:
    return asker.run(QUESTION, source, "answer", "faq", "document")


def names_with_a_citation(answer: Answer) -> str:
    return "\n".join(claim.text for claim in answer.claims if claim.evidence)


def test_a_task_for_answer_faq_and_document_succeeds(outcome: Outcome) -> None:
    assert outcome.task.state == tasks.TASK_STATE_SUCCEEDED, outcome.task
    assert [step.step for step in outcome.task.steps] == ["index", "answer", "faq", "document", "publish"]


def test_the_checker_finds_every_citation_in_the_repository(outcome: Outcome, repository: Path, tmp_path: Path) -> None:
    where = {"path": str(repository), "commit": git(repository, "rev-parse", "HEAD")}
    result = tmp_path / "result.json"
    made = outcome.to_json()
    result.write_text(json.dumps({"repository": where, "tasks": [made["task"]], **made}))

    checked = subprocess.run([sys.executable, CHECKER, result], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("part", [*SERVICES, "NATS"])
def test_the_answer_names_each_part_with_a_citation(outcome: Outcome, part: str) -> None:
    assert outcome.answer is not None
    assert part in names_with_a_citation(outcome.answer)


def test_the_faq_asks_five_distinct_questions_about_four_files(outcome: Outcome) -> None:
    assert outcome.faq is not None
    cited = [evidence for item in outcome.faq.items for claim in item.claims for evidence in claim.evidence]

    assert len({item.question for item in outcome.faq.items}) >= 5
    assert len({evidence.path for evidence in cited}) >= 4
    assert all(claim.evidence for item in outcome.faq.items for claim in item.claims)


def test_the_document_is_stored_and_published_under_its_hash(asker: Tenant, outcome: Outcome) -> None:
    assert outcome.document is not None
    stored = asker.gateway.call(
        asker.gateway.documents.GetDocument, documents.GetDocumentRequest(name=outcome.document.name, version=1)
    )

    assert stored.state == documents.DOCUMENT_STATE_PUBLISHED
    assert stored.content_hash == sha256(stored.content.encode()).hexdigest()
    listed = asker.gateway.call(asker.gateway.documents.ListDocuments, documents.ListDocumentsRequest())
    assert stored.name in [document.name for document in listed.documents]


def test_the_document_says_where_it_comes_from(outcome: Outcome, repository: Path) -> None:
    assert outcome.document is not None
    metadata = parse_document(outcome.document.content).metadata

    assert metadata.task == outcome.task.name
    assert metadata.trace_id == outcome.task.trace_id
    assert (metadata.engine, metadata.model) == ("extractive", "")
    assert metadata.repository == "morningai"
    assert metadata.commit == git(repository, "rev-parse", "HEAD")


def test_the_document_holds_against_the_files_alone(outcome: Outcome, repository: Path) -> None:
    assert outcome.document is not None
    problems = verify_document(outcome.document.content, lambda path: (repository / path).read_text())

    assert problems == []


def test_a_question_about_nothing_in_the_source_is_not_answered(asker: Tenant, source: str) -> None:
    outcome = asker.run(f"Which {make_word()} does a {make_word()} eat?", source, "answer")

    assert outcome.task.state == tasks.TASK_STATE_SUCCEEDED
    assert outcome.answer is not None
    assert not outcome.answer.found
    assert not outcome.answer.claims
    assert outcome.answer.searched
    assert "not found in the sources" in outcome.answer.markdown.lower()


def test_a_repository_with_nothing_to_answer_from_says_so(asker: Tenant, tmp_path: Path) -> None:
    source = asker.add_source(make_repository(tmp_path / "empty", {"data.bin": "\x00\x01"}))

    outcome = asker.run(QUESTION, source, "answer", "faq")

    assert outcome.task.state == tasks.TASK_STATE_PARTLY_SUCCEEDED
    assert outcome.answer is not None
    assert not outcome.answer.found
    (failed,) = (step for step in outcome.task.steps if step.step == "faq")
    assert failed.failure.reason == "no_faq_items"
    assert failed.failure.remedy


def test_without_a_model_a_change_is_refused_with_the_way_to_get_one(asker: Tenant, source: str) -> None:
    outcome = asker.run("Fix the bug.", source, "change")

    assert outcome.task.state == tasks.TASK_STATE_FAILED
    assert outcome.task.failure.reason == "model_unavailable"
    assert "morningai model install" in outcome.task.failure.remedy


def test_a_tenant_with_an_endpoint_of_its_own_needs_no_model_of_the_platform(
    extractive: Platform, tmp_path: Path
) -> None:
    word = make_word()
    with extractive.tenant() as tenant, scripted_model(api_key="its-own-key") as model:
        teach_everything(model, word)
        url = model.settings["OPENAI_BASE_URL"].replace("http://", "HTTP://")
        endpoint = models.ModelEndpoint(name="modelEndpoints/any", base_url=f"{url}/", model="its-own")
        request = models.SetModelEndpointRequest(model_endpoint=endpoint, api_key="its-own-key")
        tenant.gateway.call(tenant.gateway.model_endpoints.SetModelEndpoint, request)
        source = tenant.add_source(make_repository(tmp_path / "own", calculator(word) | knowledge(word)))
        outcome = tenant.run(question_about(word), source, "answer", "change")
        assert outcome.task.state == tasks.TASK_STATE_SUCCEEDED, outcome.task
        assert outcome.answer is not None
        assert outcome.answer.provenance.engine == "openai-compatible"
        assert {call.body["model"] for call in model.calls()} == {"its-own"}
