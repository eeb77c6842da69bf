"""The supervisor or a service ends in the middle of tasks: after the next start each goes on to its one end.

Every step of a task is held where it is, by a model that stalls, a test that takes its time, or a lock on its rows.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.outcome import fetch_outcome
from morningai.testing.model_script import ScriptedReply
from tests.e2e.model import STALLED, ScriptedModel
from tests.e2e.platform import ENDED, Platform, Tenant, eventually
from tests.e2e.replies import ADDS, ANSWERING, REWORDED, REWORDING, edit, teach_everything
from tests.e2e.repositories import calculator, knowledge, make_repository, make_word, question_about

pytestmark = pytest.mark.xdist_group("recovery")

RUNNING, SUCCEEDED = tasks.STEP_STATE_RUNNING, tasks.STEP_STATE_SUCCEEDED
# Short leases and acknowledgement waits: what a dead process held is taken over sooner.
SETTINGS = {"MORNINGAI_SLOTS": "6", "MORNINGAI_LEASE_SECONDS": "3", "MORNINGAI_ACK_WAIT_SECONDS": "5"}
SLOW_SECONDS = 5
WRONG = ScriptedReply(content=edit("calculator.py", "    return a - b", "    return a * b"))
RIGHT_BUT_SLOW = ScriptedReply(
    content=edit("calculator.py", "    return a - b", f"    __import__('time').sleep({SLOW_SECONDS})\n{ADDS}")
)
LATE = REWORDED.model_copy(update={"delay_seconds": 6.0})
SLOW = REWORDED.model_copy(update={"delay_seconds": 3.0})


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Iterator[Platform]:
    """Every test finds it running and leaves it running; nothing is left when it was stopped."""
    platform = Platform(tmp_path_factory.mktemp("mortal"), settings=model.settings | SETTINGS, use_model=True)
    try:
        platform.start()
        yield platform
        assert platform.interrupt() == 0
        assert platform.processes() == []
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def owner(mortal: Platform) -> Iterator[Tenant]:
    with mortal.tenant() as tenant:
        yield tenant


@dataclass(frozen=True)
class Held:
    """A task in the middle of a step; `asked` is how often the model is asked by its end, by words of the prompt."""

    name: str
    word: str
    step: str
    asked: dict[str, int]


@dataclass(frozen=True)
class Stage:
    """Brings tasks into the middle of their steps."""

    platform: Platform
    tenant: Tenant
    model: ScriptedModel
    folder: Path
    locks: ExitStack

    def begin(
        self, step: str, *kinds: str, asked: dict[str, int], first: tuple[tuple[str, ScriptedReply], ...] = ()
    ) -> Held:
        """`first` is what the model does once to a prompt with these words, before it answers rightly."""
        word = make_word()
        for words, reply in first:
            self.model.teach_once(word, words, reply=reply)
        teach_everything(self.model, word)
        files = calculator(word) if "change" in kinds else knowledge(word)
        source = self.tenant.add_source(make_repository(self.folder / word, files))
        instruction = f"Make the tests of {word} pass." if "change" in kinds else question_about(word)
        return Held(self.tenant.create(instruction, source, *kinds), word, step, asked)

    def lock(self, table: str) -> None:
        """Nobody writes to the table until the database stops."""
        connection = self.platform.admin()
        self.locks.callback(connection.close)
        connection.execute("BEGIN")
        connection.execute(f"LOCK TABLE {table} IN SHARE MODE")

    def has_row(self, held: Held, query: str) -> None:
        task_id = held.name.removeprefix("tasks/")
        eventually(f"the {held.step} step of {held.name} is held", lambda: self.platform.rows(query, task_id))


def every_step_in_the_middle(stage: Stage) -> list[Held]:
    """One task in the middle of each step; what could be finished before is."""
    tenant, model = stage.tenant, stage.model
    publish = stage.begin("publish", "faq", "document", asked={ANSWERING: 1, REWORDING: 1}, first=((REWORDING, LATE),))
    answer = stage.begin("answer", "answer", "faq", asked={ANSWERING: 2, REWORDING: 1}, first=((ANSWERING, STALLED),))
    faq = stage.begin("faq", "answer", "faq", asked={ANSWERING: 1, REWORDING: 2}, first=((REWORDING, STALLED),))
    document = stage.begin(
        "document", "document", "faq", asked={ANSWERING: 2, REWORDING: 1}, first=((ANSWERING, STALLED),)
    )
    asking = stage.begin("change", "change", asked={"": 3}, first=(("", WRONG), ("", STALLED)))
    tenant.wait_for_step(publish.name, "document", SUCCEEDED)
    stage.lock("docs.documents")
    model.wait_for_calls(1, answer.word, ANSWERING)
    tenant.wait_for_step(answer.name, "faq", SUCCEEDED)
    model.wait_for_calls(1, faq.word, REWORDING)
    tenant.wait_for_step(faq.name, "answer", SUCCEEDED)
    model.wait_for_calls(1, document.word, ANSWERING)
    tenant.wait_for_step(document.name, "faq", SUCCEEDED)
    model.wait_for_calls(2, asking.word)
    tenant.wait_for_step(publish.name, "publish", RUNNING)
    testing = stage.begin("change", "change", asked={"": 1}, first=(("", RIGHT_BUT_SLOW),))
    tenant.wait_for_step(testing.name, "change", RUNNING)
    stage.lock("docs.snapshots")
    index = stage.begin("index", "answer", asked={ANSWERING: 1})
    stage.has_row(index, "SELECT 1 FROM docs.leases WHERE task_id = %s AND state = 'running'")
    stage.has_row(testing, REPLY_IS_RECORDED)
    return [publish, answer, faq, document, asking, testing, index]


REPLY_IS_RECORDED = """
SELECT 1 FROM codegen.steps AS s JOIN codegen.leases AS l USING (work_id)
WHERE l.task_id = %s AND s.step = 'reply' AND s.attempt = 1
"""


@pytest.mark.parametrize("end", ["kill -9", "Ctrl-C"])
def test_every_task_goes_on_after_the_next_start(
    mortal: Platform, owner: Tenant, model: ScriptedModel, end: str, tmp_path: Path
) -> None:
    with ExitStack() as locks:
        held = every_step_in_the_middle(Stage(mortal, owner, model, tmp_path, locks))
        before = {one.name: owner.get(one.name) for one in held}
        if end == "kill -9":
            mortal.kill()
        else:
            assert mortal.interrupt() == 0
            assert mortal.processes() == []
    assert {one.step: state_of(before[one.name], one.step) for one in held} == dict.fromkeys(STEPS, RUNNING)

    mortal.start()

    after = {one.name: owner.ended(one.name) for one in held}
    for one in held:
        assert after[one.name].state == tasks.TASK_STATE_SUCCEEDED, after[one.name]
        assert_it_ended_once(owner.events(one.name))
        assert {words: len(model.calls(one.word, words)) for words in one.asked} == one.asked, one.step
        assert finished_steps(after[one.name]).items() >= finished_steps(before[one.name]).items()
        assert_every_result_is_stored_once(mortal, one)
    assert left_by_the_dead(mortal) == []
    changed = [fetch_outcome(owner.gateway, after[one.name]).change for one in held if one.step == "change"]
    assert [change.state for change in changed if change] == [changes.CHANGE_STATE_VERIFIED] * 2


def left_by_the_dead(platform: Platform) -> list[str]:
    """Folders of single attempts; what stays are git repositories and the sandbox's own."""
    work = platform.data_dir / "work"
    found = [*work.glob("docs/git/*"), *work.glob("codegen/*"), *work.glob("codegen/sandbox/*")]
    kept = re.compile("sandbox|empty|packages-.*|[0-9a-f-]{36}")
    return [str(path) for path in found if not kept.fullmatch(path.name)]


STEPS = ("publish", "answer", "faq", "document", "change", "index")
RESULTS = ("faqgen.answers", "faqgen.faqs", "docs.documents", "codegen.changes")


def state_of(task: tasks.Task, name: str) -> tasks.StepState.ValueType | None:
    return next((step.state for step in task.steps if step.step == name), None)


def finished_steps(task: tasks.Task) -> dict[str, str]:
    """What each finished step made and when: a step that ran again would differ."""
    return {step.step: f"{step.result} {step.end_time}" for step in task.steps if step.state == SUCCEEDED}


def assert_it_ended_once(events: list[tasks.TaskEvent]) -> None:
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events if event.task_state in ENDED] == ["task.succeeded"]
    ends = [event.step.step for event in events if event.type == "step.succeeded"]
    assert len(ends) == len(set(ends))


def assert_every_result_is_stored_once(platform: Platform, held: Held) -> None:
    task_id = held.name.removeprefix("tasks/")
    counts = [platform.rows(f"SELECT count(*) FROM {table} WHERE task_id = %s", task_id) for table in RESULTS]
    assert all(count in ([(0,)], [(1,)]) for count in counts)


# The service that is killed, what is asked for, and how often the model may be asked by the end.
VICTIMS = {
    "gateway": ("faq", 1),
    "orchestrator": ("faq", 1),
    "tenancy": ("faq", 1),
    "docs": ("document", 2),
    "faqgen": ("faq", 2),
    "codegen": ("change", 2),
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_task_goes_on_after_kill_9_of_a_service(
    mortal: Platform, owner: Tenant, model: ScriptedModel, victim: str, tmp_path: Path
) -> None:
    kind, asked = VICTIMS[victim]
    with ExitStack() as locks:
        stage = Stage(mortal, owner, model, tmp_path, locks)
        # Whoever is asking dies and so asks again; the others' deaths leave the one who asks alone.
        first = STALLED if asked == 2 else SLOW
        held = stage.begin(kind, kind, asked={"": asked}, first=(("", first),))
    model.wait_for_calls(1, held.word)

    mortal.kill_service(victim)

    task = owner.ended(held.name)
    assert task.state == tasks.TASK_STATE_SUCCEEDED, task
    assert len(model.calls(held.word)) == asked
    assert_it_ended_once(owner.events(held.name))
    assert_every_result_is_stored_once(mortal, held)


@pytest.mark.parametrize("worker", ["docs", "faqgen", "codegen"])
def test_a_task_goes_on_after_its_worker_was_asked_to_stop_and_no_attempt_is_used(
    mortal: Platform, owner: Tenant, model: ScriptedModel, worker: str, tmp_path: Path
) -> None:
    kind, asked = VICTIMS[worker]
    with ExitStack() as locks:
        stage = Stage(mortal, owner, model, tmp_path, locks)
        held = stage.begin(kind, kind, asked={"": asked}, first=(("", STALLED),))
    model.wait_for_calls(1, held.word)

    mortal.kill_service(worker, signal.SIGTERM)

    task = owner.ended(held.name)
    assert task.state == tasks.TASK_STATE_SUCCEEDED, task
    assert len(model.calls(held.word)) == asked
    assert_it_ended_once(owner.events(held.name))
    task_id = held.name.removeprefix("tasks/")
    used = "SELECT max(attempt), max(failures), max(excused) FROM {}.leases WHERE task_id = %s"
    assert mortal.rows(used.format(worker), task_id) == [(2, 0, 1)]


def test_every_task_goes_on_after_the_bus_lost_all_it_had(
    mortal: Platform, owner: Tenant, model: ScriptedModel, tmp_path: Path
) -> None:
    """Events are on their way to a gateway that stands still, more than it has asked for, when the bus loses them."""
    with ExitStack() as locks:
        stage = Stage(mortal, owner, model, tmp_path, locks)
        slow = REWORDED.model_copy(update={"delay_seconds": 3.0})
        held = [stage.begin("faq", "faq", asked={"": 1}, first=(("", slow),)) for _ in range(6)]
    for one in held:
        model.wait_for_calls(1, one.word)
    with standing_still(mortal, "gateway"):
        for one in held:
            stage.has_row(one, LAST_EVENT_IS_PUBLISHED)
        mortal.lose_bus()

    for one in held:
        task = owner.ended(one.name, seconds=BUS_SECONDS)
        assert task.state == tasks.TASK_STATE_SUCCEEDED, task
        assert_it_ended_once(owner.events(one.name))
        assert_every_result_is_stored_once(mortal, one)
        assert len(model.calls(one.word)) == 1
    again = stage.begin("faq", "faq", asked={"": 1})
    assert owner.ended(again.name, seconds=BUS_SECONDS).state == tasks.TASK_STATE_SUCCEEDED


LAST_EVENT_IS_PUBLISHED = """
SELECT 1 FROM orchestrator.outbox WHERE task_id = %s AND type ~ 'TaskSucceeded' AND published_at >= due_at
"""
# Sooner than an unanswered command is sent again.
BUS_SECONDS = 20.0


@contextmanager
def standing_still(platform: Platform, *services: str) -> Iterator[None]:
    pids = [platform.service_pid(service) for service in services]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
