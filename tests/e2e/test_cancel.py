"""A cancelled or expired task stops: at the model and in the sandbox within two seconds, its budget settled, once."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from tests.e2e.model import STALLED, ScriptedModel
from tests.e2e.platform import ENDED, Platform, Tenant, eventually
from tests.e2e.replies import answer_about
from tests.e2e.repositories import calculator, knowledge, make_repository, question_about

pytestmark = pytest.mark.xdist_group("shared")

STOPS_WITHIN_SECONDS = 2.0
KINDS = {"answer": "faqgen", "faq": "faqgen", "document": "docs", "change": "codegen"}


# Runs for as long as it is let, under a name that nothing else has.
ENDLESS_TEST = """import subprocess
import sys


def test_add():
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)", "{word}"], check=True)
"""
OPEN_RESERVATIONS = """
SELECT state FROM tenancy.reservations WHERE task_id = %s AND state IN ('reserved', 'sent')
"""
CHARGED = "SELECT prompt_tokens + completion_tokens > 0 FROM tenancy.usage WHERE task_id = %s"


def processes_with(word: str) -> list[str]:
    """Those of this machine, sandboxes included, that have the word as an argument of its own."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [str(file)] if word.encode() in file.read_bytes().split(b"\0") else []
    return found


class Watch:
    """Follows a task in a thread and notes when it saw what."""

    def __init__(self, tenant: Tenant, task: str) -> None:
        self.events: list[tuple[float, tasks.TaskEvent]] = []
        self._thread = threading.Thread(target=self._follow, args=(tenant, task), daemon=True)
        self._thread.start()

    def _follow(self, tenant: Tenant, task: str) -> None:
        for event in tenant.gateway.watch(task, after=0):
            self.events.append((time.monotonic(), event))

    def ended(self) -> tuple[float, tasks.TaskEvent]:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.events[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_task_stops_asking_the_model(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, kind: str, tmp_path: Path
) -> None:
    files = knowledge(word) | (calculator(word) if kind == "change" else {})
    source = tenant.add_source(make_repository(tmp_path / "repository", files))
    model.teach(word, replies=(STALLED,))
    task = tenant.create(question_about(word), source, kind)
    watch = Watch(tenant, task)
    (call,) = model.wait_for_calls(1, word)

    began = time.monotonic()
    tenant.cancel(task)
    eventually("the model is no longer asked", lambda: call.state == "abandoned")
    stopped = time.monotonic()
    seen, last = watch.ended()

    assert last.type == "task.cancelled"
    assert seen - began < STOPS_WITHIN_SECONDS
    assert stopped - began < STOPS_WITHIN_SECONDS
    lease = "SELECT state FROM {}.leases WHERE task_id = %s"
    query = lease.format(KINDS[kind])
    task_id = task.removeprefix("tasks/")
    eventually("the lease ends", lambda: ("cancelled",) in platform.rows(query, task_id))
    assert [event.sequence for _, event in watch.events] == list(range(1, len(watch.events) + 1))
    assert sum(event.task_state in ENDED for _, event in watch.events) == 1
    assert tenant.get(task).state == tasks.TASK_STATE_CANCELLED
    assert len(model.calls(word)) == 1
    eventually("its budget is settled", lambda: not platform.rows(OPEN_RESERVATIONS, task_id))
    assert platform.rows(CHARGED, task_id) == [(True,)]


def test_an_expired_task_stops_asking_the_model(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = tenant.add_source(make_repository(tmp_path / "repository", knowledge(word)))
    model.teach(word, replies=(STALLED,))
    task = tenant.create(question_about(word), source, "answer", ttl=timedelta(seconds=5))
    watch = Watch(tenant, task)
    (call,) = model.wait_for_calls(1, word)

    eventually("the model is no longer asked", lambda: call.state == "abandoned")
    stopped = time.time()
    _, last = watch.ended()

    assert last.type == "task.expired"
    found = tenant.get(task)
    assert (found.state, found.failure.reason) == (tasks.TASK_STATE_EXPIRED, "task_expired")
    expired = found.expire_time.ToMilliseconds() / 1000
    assert expired <= found.end_time.ToMilliseconds() / 1000 < expired + STOPS_WITHIN_SECONDS
    assert stopped - expired < STOPS_WITHIN_SECONDS
    assert [event.sequence for _, event in watch.events] == list(range(1, len(watch.events) + 1))
    assert sum(event.task_state in ENDED for _, event in watch.events) == 1
    task_id = task.removeprefix("tasks/")
    lease = "SELECT state FROM faqgen.leases WHERE task_id = %s"
    eventually("the lease ends", lambda: ("cancelled",) in platform.rows(lease, task_id))
    eventually("its budget is settled", lambda: not platform.rows(OPEN_RESERVATIONS, task_id))
    assert platform.rows(CHARGED, task_id) == [(True,)]
    assert len(model.calls(word)) == 1


def test_a_cancelled_task_stops_what_runs_in_the_sandbox(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    files = calculator(word) | {"test_calculator.py": ENDLESS_TEST.format(word=word)}
    source = tenant.add_source(make_repository(tmp_path / "repository", files))
    task = tenant.create(f"Make the tests of {word} pass.", source, "change")
    eventually("its tests run in the sandbox", lambda: processes_with(word))

    began = time.monotonic()
    tenant.cancel(task)
    eventually("nothing of it runs any more", lambda: not processes_with(word))

    assert time.monotonic() - began < STOPS_WITHIN_SECONDS
    assert tenant.ended(task).state == tasks.TASK_STATE_CANCELLED
    lease = "SELECT state FROM codegen.leases WHERE task_id = %s"
    eventually("the lease ends", lambda: ("cancelled",) in platform.rows(lease, task.removeprefix("tasks/")))
    assert model.calls(word) == []


def test_a_task_says_how_far_its_running_step_is(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = tenant.add_source(make_repository(tmp_path / "repository", knowledge(word)))
    model.teach(word, replies=(STALLED,))
    task = tenant.create(question_about(word), source, "answer")
    model.wait_for_calls(1, word)

    with closing(tenant.gateway.watch(task, after=0, progress=True)) as watch:
        tick = next(event for event in watch if event.type == "step.progressed" and event.step.step == "answer")
    step = tenant.step(task, "answer")
    tenant.cancel(task)

    assert step is not None
    assert (tick.sequence, tick.step.progress) == (0, step.progress)
    assert step.progress.percent == 40
    assert step.progress.stage.endswith("passages found")
    ended = tenant.ended(task)
    assert not any(step.HasField("progress") for step in ended.steps)


def test_a_watcher_that_hangs_up_does_no_harm(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = tenant.add_source(make_repository(tmp_path / "repository", knowledge(word)))
    model.teach(word, replies=(STALLED,))
    task = tenant.create(question_about(word), source, "answer")
    model.wait_for_calls(1, word)

    with closing(tenant.gateway.watch(task, after=0)) as watch:
        assert next(iter(watch)).type == "task.started"
    with closing(tenant.gateway.watch(task, after=1)) as again:
        assert next(iter(again)).sequence == 2
    tenant.cancel(task)

    assert tenant.ended(task).state == tasks.TASK_STATE_CANCELLED
    assert platform.crashes() == []


def test_a_task_that_has_ended_cannot_be_cancelled(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    source = tenant.add_source(make_repository(tmp_path / "repository", knowledge(word)))
    model.teach(word, replies=(answer_about(word),))
    task = tenant.run(question_about(word), source, "answer").task
    before = tenant.events(task.name)

    with pytest.raises(grpc.RpcError) as refused:
        tenant.cancel(task.name)

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "ended already" in refused.value.details()
    assert tenant.events(task.name) == before
