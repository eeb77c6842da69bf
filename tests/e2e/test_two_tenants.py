"""Two tenants at the same time: nothing of the one is there for the other, by any call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from morningai.api.answers.v1 import answers_pb2 as answers
from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.faqs.v1 import faqs_pb2 as faqs
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.cli.outcome import Outcome, fetch_outcome
from tests.e2e.model import ScriptedModel
from tests.e2e.platform import Platform, Tenant
from tests.e2e.replies import teach_everything
from tests.e2e.repositories import calculator, knowledge, make_repository, make_word, question_about

pytestmark = pytest.mark.xdist_group("shared")

# The same name at both: a source is found by its tenant and name, never by its name alone.
SOURCE = "shared-name"


@dataclass(frozen=True)
class Party:
    """A tenant and everything it made."""

    tenant: Tenant
    word: str
    source: str
    knowing: Outcome
    changing: Outcome


@pytest.fixture(scope="module")
def parties(
    platform: Platform, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Party, Party]]:
    """Their tasks run at the same time."""
    with platform.tenant() as one, platform.tenant() as other:
        begun = [begin(tenant, model, tmp_path_factory.mktemp(tenant.slug)) for tenant in (one, other)]
        yield tuple(finish() for finish in begun)  # type: ignore[misc]


def begin(tenant: Tenant, model: ScriptedModel, folder: Path) -> Callable[[], Party]:
    word = make_word()
    teach_everything(model, word)
    source = tenant.add_source(
        make_repository(folder / "repository", calculator(word) | knowledge(word)), source_id=SOURCE
    )
    knowing = tenant.create(question_about(word), source, "answer", "faq", "document")
    changing = tenant.create(f"Make the tests of {word} pass.", source, "change")

    def finish() -> Party:
        made = [fetch_outcome(tenant.gateway, tenant.ended(task)) for task in (knowing, changing)]
        return Party(tenant, word, source, *made)

    return finish


def test_both_get_what_they_asked_for(parties: tuple[Party, Party]) -> None:
    for party in parties:
        assert party.knowing.task.state == tasks.TASK_STATE_SUCCEEDED, party.knowing.task
        assert party.changing.task.state == tasks.TASK_STATE_SUCCEEDED, party.changing.task


READS: dict[str, Callable[[Tenant, Party], object]] = {
    "GetTask": lambda asker, owner: asker.get(owner.knowing.task.name),
    "ListTaskEvents": lambda asker, owner: asker.events(owner.knowing.task.name),
    "WatchTask": lambda asker, owner: list(asker.gateway.watch(owner.knowing.task.name, after=0)),
    "CancelTask": lambda asker, owner: asker.cancel(owner.knowing.task.name),
    "GetAnswer": lambda asker, owner: asker.gateway.call(
        asker.gateway.answers.GetAnswer, answers.GetAnswerRequest(name=owner.knowing.answer.name)
    ),
    "GetFaq": lambda asker, owner: asker.gateway.call(
        asker.gateway.faqs.GetFaq, faqs.GetFaqRequest(name=owner.knowing.faq.name)
    ),
    "GetDocument": lambda asker, owner: asker.gateway.call(
        asker.gateway.documents.GetDocument, documents.GetDocumentRequest(name=owner.knowing.document.name)
    ),
    "GetChange": lambda asker, owner: asker.gateway.call(
        asker.gateway.changes.GetChange, changes.GetChangeRequest(name=owner.changing.change.name)
    ),
    "GetTenant": lambda asker, owner: asker.gateway.call(
        asker.gateway.tenants.GetTenant, tenants.GetTenantRequest(name=own_tenant(owner).name)
    ),
}


def own_tenant(party: Party) -> tenants.Tenant:
    gateway = party.tenant.gateway
    return gateway.call(gateway.tenants.GetTenant, tenants.GetTenantRequest(name="tenants/-"))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_owner_reads_and_the_other_finds_nothing(
    parties: tuple[Party, Party], read: Callable[[Tenant, Party], object]
) -> None:
    owner, other = parties

    with pytest.raises(grpc.RpcError) as refused:
        read(other.tenant, owner)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert owner.word not in refused.value.details()


def test_a_task_on_the_other_tenants_source_is_refused(parties: tuple[Party, Party], tmp_path: Path, word: str) -> None:
    owner, other = parties
    private = owner.tenant.add_source(make_repository(tmp_path / "private", knowledge(word)), source_id="private-one")

    with pytest.raises(grpc.RpcError) as refused:
        other.tenant.create("What is it?", private, "answer")
    with pytest.raises(grpc.RpcError) as hidden:
        other.tenant.gateway.call(other.tenant.gateway.sources.GetSource, sources.GetSourceRequest(name=private))

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert hidden.value.code() is grpc.StatusCode.NOT_FOUND


def test_each_lists_its_own_alone(parties: tuple[Party, Party]) -> None:
    for party in parties:
        gateway = party.tenant.gateway
        own_tasks = gateway.call(gateway.tasks.ListTasks, tasks.ListTasksRequest()).tasks
        own_documents = gateway.call(gateway.documents.ListDocuments, documents.ListDocumentsRequest()).documents
        own_sources = gateway.call(gateway.sources.ListSources, sources.ListSourcesRequest()).sources
        assert {task.name for task in own_tasks} == {party.knowing.task.name, party.changing.task.name}
        assert [document.name for document in own_documents] == [party.knowing.document.name]
        assert SOURCE in [source.name.removeprefix("sources/") for source in own_sources]


def test_a_source_of_the_same_name_is_each_tenants_own(parties: tuple[Party, Party]) -> None:
    one, other = parties
    commits = []
    for party in parties:
        gateway = party.tenant.gateway
        commits.append(gateway.call(gateway.sources.GetSource, sources.GetSourceRequest(name=party.source)).commit)

    assert commits == [one.knowing.document.provenance.commit, other.knowing.document.provenance.commit]
    assert commits[0] != commits[1]


def test_the_feed_has_only_events_of_the_tenants_own_task(parties: tuple[Party, Party]) -> None:
    owner, other = parties
    for party in parties:
        task = party.knowing.task
        watched = list(party.tenant.gateway.watch(task.name, after=0))
        assert {event.task for event in watched} == {task.name}
        assert {event.trace_id for event in watched} == {task.trace_id}
    gateway = other.tenant.gateway
    by_trace = tasks.ListTaskEventsRequest(trace_id=owner.knowing.task.trace_id)
    assert not gateway.call(gateway.tasks.ListTaskEvents, by_trace).events


def test_nothing_that_one_was_given_holds_a_word_of_the_other(parties: tuple[Party, Party]) -> None:
    one, other = parties
    assert other.word not in f"{one.knowing}{one.changing}"
    assert one.word not in f"{other.knowing}{other.changing}"
