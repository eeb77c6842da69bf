"""Commands that only read: task list, show and cancel, doc list and show, trace."""

from __future__ import annotations

import pytest

from morningai.api.documents.v1 import documents_pb2
from morningai.api.tasks.v1 import tasks_pb2
from morningai.cli.wording import clock
from morningai.errors import FailedPrecondition
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import TASK, TRACE, Script, at, step


def test_tasks_are_listed_up_to_the_limit(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("task", "list", "--limit", "3", "--json")

    sizes = [request.page_size for request in script.requests("ListTasks")]  # type: ignore[attr-defined]
    assert len(said.json["tasks"]) == 3  # type: ignore[arg-type]
    assert sizes == [3, 2, 1]


def test_the_list_names_each_task_and_its_state(tenant_cli: Cli) -> None:
    said = tenant_cli("task", "list", "--limit", "1")

    assert TASK.removeprefix("tasks/") in said.out
    assert "succeeded" in said.out


def test_a_task_is_shown_by_either_form_of_its_name(tenant_cli: Cli) -> None:
    full = tenant_cli("task", "show", TASK)
    short = tenant_cli("task", "show", TASK.removeprefix("tasks/"))

    assert full.out == short.out
    assert "answer    succeeded done" in full.out


def test_a_queued_task_says_its_place_and_when_it_starts(tenant_cli: Cli, script: Script) -> None:
    script.queue_place = tasks_pb2.QueuePlace(position=3, estimated_start_time=at(60))

    said = tenant_cli("task", "show", TASK)

    assert f"number 3 in the queue · high priority · starts at about {clock(at(60))}" in said.out


def test_an_open_task_says_when_it_expires(tenant_cli: Cli, script: Script) -> None:
    script.end_state = tasks_pb2.TASK_STATE_RUNNING
    script.expire_time = at(60)

    said = tenant_cli("task", "show", TASK)

    assert f"expires {clock(at(60))}" in said.out


def test_a_task_that_has_ended_expires_no_more(tenant_cli: Cli, script: Script) -> None:
    script.expire_time = at(60)

    said = tenant_cli("task", "show", TASK)

    assert "expires" not in said.out


def test_a_start_that_cannot_be_estimated_is_said_to_be_unknown(tenant_cli: Cli, script: Script) -> None:
    script.queue_place = tasks_pb2.QueuePlace(position=1)

    said = tenant_cli("task", "show", TASK)

    assert "when it starts is not known yet" in said.out


def test_an_unknown_task_exits_1(tenant_cli: Cli) -> None:
    said = tenant_cli("task", "show", "tasks/0", "--json")

    assert said.code == 1
    assert said.error["reason"] == "NOT_FOUND"


def test_watching_prints_the_result(tenant_cli: Cli) -> None:
    said = tenant_cli("task", "watch", TASK)

    assert said.code == 0
    assert "The gateway is the one public door." in said.out


def test_a_cancelled_task_is_shown(tenant_cli: Cli, script: Script) -> None:
    script.end_state = tasks_pb2.TASK_STATE_CANCELLED

    said = tenant_cli("task", "cancel", TASK)

    assert said.code == 0
    assert "cancelled" in said.out


def test_a_task_that_has_ended_cannot_be_cancelled(tenant_cli: Cli, script: Script) -> None:
    script.failures["CancelTask"] = [FailedPrecondition("It has ended.", remedy="Nothing is left to do.")]

    said = tenant_cli("task", "cancel", TASK)

    assert said.code == 1
    assert "error: It has ended." in said.err


def test_a_document_is_printed_as_it_is(tenant_cli: Cli) -> None:
    said = tenant_cli("doc", "show", "documents/1")

    assert "---\ntask: tasks/1\n---\n# Architecture\n\nSix services.\n" in said.out
    assert "engine extractive" in said.out


def test_a_version_is_asked_for(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("doc", "show", "1", "--version", "2")

    expected = documents_pb2.GetDocumentRequest(name="documents/1", version=2)
    assert script.requests("GetDocument") == [expected]


def test_documents_are_listed(tenant_cli: Cli) -> None:
    said = tenant_cli("doc", "list", "--json")

    assert said.json["documents"][0]["title"] == "Architecture"  # type: ignore[index]


@pytest.mark.parametrize("given", [TRACE, TRACE.upper(), TASK])
def test_a_trace_is_drawn_for_its_id_and_for_a_task(tenant_cli: Cli, given: str) -> None:
    said = tenant_cli("trace", given)

    assert said.code == 0
    assert "+0.10 s" in said.out
    assert "━" in said.out
    assert "faqgen" in said.out


def test_a_trace_as_json_is_its_events(tenant_cli: Cli) -> None:
    said = tenant_cli("trace", TRACE, "--json")

    assert said.json["trace_id"] == TRACE
    assert [event["sequence"] for event in said.json["events"]] == ["1", "2", "3", "4"]  # type: ignore[attr-defined]


def test_a_trace_has_the_events_of_all_pages(tenant_cli: Cli, script: Script) -> None:
    script.steps = [step(name, "docs", end=1) for name in ("index", "answer", "faq", "document", "publish")]

    said = tenant_cli("trace", TASK, "--json")

    numbers = [int(event["sequence"]) for event in said.json["events"]]  # type: ignore[attr-defined]
    assert numbers == list(range(1, 8))


def test_a_trace_says_why_a_step_failed(tenant_cli: Cli, script: Script) -> None:
    script.steps = [step("change", "codegen", end=1, failure="sandbox_unavailable")]

    said = tenant_cli("trace", TRACE)

    assert "change: It did not work. (sandbox_unavailable)" in said.out
    assert "Do that." in said.out


def test_an_unknown_trace_exits_1_and_says_where_traces_are(tenant_cli: Cli) -> None:
    said = tenant_cli("trace", "f" * 32)

    assert said.code == 1
    assert "morningai task show" in said.err
