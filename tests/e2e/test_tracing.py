"""One trace per task: through the processes, their SQL and the model, in every log line and every message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.testing.model_script import ScriptedReply
from tests.e2e.collector import Collector, Span
from tests.e2e.model import STALLED, ScriptedModel
from tests.e2e.platform import SERVICES, Platform, Tenant, eventually
from tests.e2e.replies import RIGHT_FUNCTION, teach_everything
from tests.e2e.repositories import calculator, knowledge, make_repository, make_word, question_about

pytestmark = pytest.mark.xdist_group("shared")

# Spans are sent every second.
QUIET_SECONDS = 2.5


@dataclass(frozen=True)
class Traced:
    """An ended task with all spans of its trace; `word` is in everything that its prompts and rows say."""

    task: tasks.Task
    word: str
    spans: list[Span]
    events: list[tasks.TaskEvent]

    def roots(self) -> list[Span]:
        return [span for span in self.spans if not span.parent_id]

    def orphans(self) -> list[Span]:
        known = {span.span_id for span in self.spans}
        return [span for span in self.spans if span.parent_id and span.parent_id not in known]

    def services(self, *, of: str = "") -> set[str]:
        """The services with spans of a kind: "sql", "model", or any."""
        kinds = {"": lambda span: True, "sql": lambda span: span.is_sql, "model": lambda span: span.is_model_call}
        return {span.service.removeprefix("morningai-") for span in self.spans if kinds[of](span)}


@pytest.fixture(scope="module")
def owner(platform: Platform) -> Iterator[Tenant]:
    with platform.tenant() as tenant:
        yield tenant


@pytest.fixture(scope="module")
def knowing(
    owner: Tenant, model: ScriptedModel, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Traced:
    """Answer, FAQ and document."""
    word = make_word()
    teach_everything(model, word)
    source = owner.add_source(make_repository(tmp_path_factory.mktemp("knowing") / "repository", knowledge(word)))
    task = owner.run(question_about(word), source, "answer", "faq", "document").task
    return Traced(task, word, spans_of(collector, task), owner.events(task.name))


@pytest.fixture(scope="module")
def changing(
    owner: Tenant, model: ScriptedModel, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Traced:
    word = make_word()
    model.teach(word, replies=(ScriptedReply(status=500, error=f"cannot read {word}"), RIGHT_FUNCTION))
    source = owner.add_source(make_repository(tmp_path_factory.mktemp("changing") / "repository", calculator(word)))
    task = owner.run(f"Make the tests of {word} pass.", source, "change").task
    return Traced(task, word, spans_of(collector, task), owner.events(task.name))


@pytest.fixture(scope="module")
def cancelled(
    owner: Tenant, model: ScriptedModel, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Traced:
    word = make_word()
    model.teach(word, replies=(STALLED,))
    source = owner.add_source(make_repository(tmp_path_factory.mktemp("cancelled") / "repository", knowledge(word)))
    name = owner.create(question_about(word), source, "answer")
    model.wait_for_calls(1, word)
    owner.cancel(name)
    task = owner.ended(name)
    return Traced(task, word, spans_of(collector, task), owner.events(task.name))


@pytest.fixture(params=["knowing", "changing", "cancelled"])
def traced(request: pytest.FixtureRequest) -> Traced:
    found: Traced = request.getfixturevalue(request.param)
    return found


def spans_of(collector: Collector, task: tasks.Task) -> list[Span]:
    """All spans of the task's trace, once none has come for a while."""
    latest = [0, time.monotonic()]

    def quiet() -> list[Span]:
        spans = collector.of_trace(task.trace_id)
        if len(spans) != latest[0]:
            latest[:] = len(spans), time.monotonic()
        return spans if time.monotonic() - latest[1] > QUIET_SECONDS else []

    return eventually("the spans of a task stop coming", quiet)


def test_the_spans_of_a_task_are_one_tree(traced: Traced) -> None:
    assert [root.name for root in traced.roots()] == ["/morningai.api.tasks.v1.TaskService/CreateTask"]
    assert traced.orphans() == []
    assert len({span.span_id for span in traced.spans}) == len(traced.spans)


def test_the_tree_of_a_knowing_task_goes_through_its_services_sql_and_model(knowing: Traced) -> None:
    assert knowing.task.state == tasks.TASK_STATE_SUCCEEDED
    assert knowing.services() == {"gateway", "orchestrator", "docs", "faqgen"}
    assert knowing.services(of="sql") == {"gateway", "orchestrator", "docs", "faqgen"}
    assert knowing.services(of="model") == {"docs", "faqgen"}


def test_the_tree_of_a_change_goes_through_codegen(changing: Traced) -> None:
    assert changing.task.state == tasks.TASK_STATE_SUCCEEDED
    assert changing.services() == {"gateway", "orchestrator", "docs", "codegen"}
    assert changing.services(of="sql") == {"gateway", "orchestrator", "docs", "codegen"}
    assert changing.services(of="model") == {"codegen"}


def test_the_tree_of_a_cancelled_task_holds_its_cancelling(cancelled: Traced) -> None:
    assert cancelled.task.state == tasks.TASK_STATE_CANCELLED
    assert "process CancelWork" in {span.name for span in cancelled.spans}


def test_no_span_says_what_was_asked_answered_or_stored(traced: Traced) -> None:
    assert [span for span in traced.spans if traced.word in span.content] == []


def test_every_log_line_of_a_task_carries_its_trace_id(platform: Platform, traced: Traced) -> None:
    task_id = traced.task.name.removeprefix("tasks/")
    lines = [line for line in platform.log_lines() if line.get("task_id") == task_id]

    assert {line["service"] for line in lines} >= {"docs"}
    assert {line.get("trace_id") for line in lines} == {traced.task.trace_id}


def test_every_event_of_a_task_carries_its_trace_id(traced: Traced) -> None:
    assert {event.trace_id for event in traced.events} == {traced.task.trace_id}


def test_every_message_of_a_task_carries_its_trace_id(platform: Platform, traced: Traced) -> None:
    """The headers of a message are made from its row."""
    task_id = traced.task.name.removeprefix("tasks/")
    rows = [row for service in SERVICES for row in platform.rows(OUTBOX.format(service), task_id)]

    assert len(rows) >= len(traced.events)
    assert {str(traceparent).split("-")[1] for (traceparent,) in rows} == {traced.task.trace_id}


OUTBOX = "SELECT traceparent FROM {}.outbox WHERE task_id = %s"
