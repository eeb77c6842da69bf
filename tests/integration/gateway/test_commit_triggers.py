"""A schedule that fires on its source's new commits: once for each, for whom it may, and what is asked of docs."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus import outbox
from morningai.bus.catalogue import message_type
from morningai.bus.envelope import Envelope
from morningai.db.session import Database
from services.gateway import firing
from services.gateway.domain.schedules import CommitTrigger, MissedPolicy, OverlapPolicy, ScheduleState
from services.gateway.firing import NOT_ANSWERED, OVERLAPS, SOURCE_GONE
from services.gateway.repository import schedules as repository
from tests.integration.gateway.firings import (
    check_of,
    deliver,
    end_task,
    fire,
    made_schedule,
    read,
    tasks_of,
    timer_of,
    waiting_of,
)

FIRST, SECOND, THIRD = "a" * 40, "b" * 40, "c" * 40
MAIN = CommitTrigger("main", timedelta(minutes=5))
SEAL = "SELECT seal FROM docs.outbox WHERE id = %s"
COMMITS = "SELECT base_commit FROM gateway.tasks WHERE tenant_id = %s ORDER BY created_at"
REQUESTS = "SELECT body FROM gateway.outbox WHERE tenant_id = %s AND type LIKE '%%.TaskRequested' ORDER BY id"
UNPUBLISHED = "SELECT count(*) FROM gateway.outbox WHERE id = %s AND published_at IS NULL"
DUE = "SELECT count(*) FROM gateway.outbox WHERE id = %s AND due_at <= now()"


@pytest.fixture
async def docs(database):
    opened = Database(database.dsn("docs_app"))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def watch(gateway, database, docs, tenant):
    """`await watch(...)`: a schedule with a commit trigger, and what docs says to it."""

    async def made(**options):
        return Watched(gateway, database, docs, tenant, await made_schedule(gateway, tenant, trigger=MAIN, **options))

    return made


class Watched:
    def __init__(self, gateway, database, docs, tenant, schedule_id):
        self.gateway, self.database, self.docs, self.tenant = gateway, database, docs, tenant
        self.schedule_id = schedule_id

    async def read(self):
        return await read(self.gateway, self.tenant, self.schedule_id)

    async def ask(self):
        """Its timer comes; the question that it put to docs."""
        await fire(self.gateway, self.database, self.schedule_id)
        return check_of(self.database, self.schedule_id)

    async def answer(self, question, **fields):
        """What docs writes to its outbox, as it reaches the gateway."""
        message = events.SourceChecked(**fields)
        async with self.docs.tenant_session(question.seal) as session:
            emitted = await outbox.emit(session, message, task_id=self.schedule_id, causation_id=question.id)
        ((seal,),) = self.database.rows(SEAL, emitted)
        entry = message_type(events.SourceChecked)
        return Envelope(
            *(emitted, entry, "docs", question.tenant_id, self.schedule_id, seal, ""),
            message.SerializeToString(),
            causation_id=question.id,
        )

    async def look(self, **fields):
        """One whole check; what is new fires."""
        answer = await self.answer(await self.ask(), **fields)
        await deliver(self.gateway, answer)
        if (await self.read()).watch.found:
            await fire(self.gateway, self.database, self.schedule_id)
        return answer

    @property
    def commits(self):
        """Those that tasks were made of."""
        return [commit for (commit,) in self.database.rows(COMMITS, self.tenant.tenant_id)]


async def test_docs_is_asked_for_the_branch_at_once(watch):
    watched = await watch()
    question = await watched.ask()
    assert question.message() == events.CheckSource(source="sources/small", branch="main")


async def test_the_commit_that_is_there_first_fires_nothing(watch):
    watched = await watch()
    await watched.look(commit=FIRST)
    assert watched.commits == []
    assert (await watched.read()).watch.settled == FIRST


async def test_a_new_commit_makes_the_timer_due_and_a_task_at_that_commit(watch, database, tenant):
    watched = await watch()
    await watched.look(commit=FIRST)
    answer = await watched.answer(await watched.ask(), commit=SECOND)
    timer = timer_of(database, watched.schedule_id)
    assert database.rows(DUE, timer.id) == [(0,)]
    await deliver(watched.gateway, answer)
    assert database.rows(DUE, timer.id) == [(1,)]
    await deliver(watched.gateway, timer)
    ((body,),) = database.rows(REQUESTS, tenant.tenant_id)
    assert events.TaskRequested.FromString(bytes(body)).base_commit == SECOND
    schedule = await watched.read()
    assert (watched.commits, schedule.watch.settled, schedule.watch.found) == ([SECOND], SECOND, "")
    assert tasks_of(database, tenant)[0][0] == schedule.last_task_id


async def test_a_commit_fires_once_however_often_and_on_however_many_replicas_its_event_comes(watch, database):
    watched = await watch()
    await watched.look(commit=FIRST)
    question = await watched.ask()
    answers = [await watched.answer(question, commit=SECOND) for _ in range(2)]
    await asyncio.gather(*(deliver(watched.gateway, answer) for answer in answers * 3))
    timer = timer_of(database, watched.schedule_id)
    await asyncio.gather(*(deliver(watched.gateway, timer) for _ in range(4)))
    await deliver(watched.gateway, answers[0])
    await watched.look(commit=SECOND)
    assert watched.commits == [SECOND]


async def test_a_commit_that_comes_back_does_not_fire_again_when_its_task_is_gone(watch, database):
    watched = await watch()
    for commit in (FIRST, SECOND):
        await watched.look(commit=commit)
    assert watched.commits == [SECOND]
    await database.change("UPDATE kernel.tasks SET closed_at = now() WHERE task_id <> schedule_id")
    await database.change("DELETE FROM gateway.tasks")
    for commit in (FIRST, SECOND):
        await watched.look(commit=commit)
    assert SECOND not in watched.commits


async def test_a_commit_that_comes_back_does_not_fire_again(watch):
    watched = await watch()
    for commit in (FIRST, SECOND, THIRD, SECOND):
        await watched.look(commit=commit)
    assert watched.commits == [SECOND, THIRD]


async def die_before_the_commit(watched, timer):
    async with watched.gateway.tenant_session(timer.seal) as session:
        await firing.on_schedule_due(session, timer, timer.message())
        raise ConnectionAbortedError


async def test_a_commit_whose_firing_was_lost_fires_again(watch, database):
    watched = await watch()
    await watched.look(commit=FIRST)
    await deliver(watched.gateway, await watched.answer(await watched.ask(), commit=SECOND))
    timer = timer_of(database, watched.schedule_id)
    with pytest.raises(ConnectionAbortedError):
        await die_before_the_commit(watched, timer)
    assert watched.commits == []
    await deliver(watched.gateway, timer)
    assert watched.commits == [SECOND]


async def test_a_question_that_is_not_answered_is_sent_again_and_put_anew_after_a_while(watch, database):
    watched = await watch()
    first = await watched.ask()
    await database.change("UPDATE gateway.outbox SET published_at = now()")
    assert (await watched.ask()).id == first.id
    assert database.rows(UNPUBLISHED, first.id) == [(1,)]
    await database.change("UPDATE gateway.schedules SET asked_at = now() - interval '16 minutes'")
    assert (await watched.ask()).id != first.id
    assert (await watched.read()).watch.failure == NOT_ANSWERED


async def test_what_keeps_docs_from_the_branch_is_shown_and_it_is_asked_less_often(watch):
    watched = await watch()
    away = tasks.Failure(reason="unavailable", message="git.example.org did not answer.")
    waits = []
    for _ in range(4):
        await watched.look(failure=away)
        schedule = await watched.read()
        assert schedule.watch.failure.message == away.message
        waits.append(schedule.next_fire_at - datetime.now(UTC))
    assert (schedule.watch.failed_checks, schedule.state) == (4, ScheduleState.ACTIVE)
    assert waits[3] > timedelta(minutes=15)
    await watched.look(commit=FIRST)
    assert ((await watched.read()).watch.failed_checks, (await watched.read()).watch.failure) == (0, None)


async def test_a_schedule_whose_source_is_gone_is_paused_and_says_why(watch, database):
    watched = await watch()
    await watched.look(source_is_gone=True, failure=tasks.Failure(reason="not_found"))
    timer = timer_of(database, watched.schedule_id)
    assert database.rows(DUE, timer.id) == [(1,)]
    await deliver(watched.gateway, timer)
    schedule = await watched.read()
    assert (schedule.state, schedule.last_failure, schedule.next_fire_at) == (ScheduleState.PAUSED, SOURCE_GONE, None)


async def paused(watched):
    async with watched.gateway.tenant_session(watched.tenant.grant()) as session:
        await firing.withdraw(session, await repository.lock_schedule(session, watched.schedule_id))
        await repository.pause_schedule(session, watched.schedule_id, failure=None)


async def resumed(watched):
    async with watched.gateway.tenant_session(watched.tenant.grant()) as session:
        await repository.resume_schedule(session, watched.schedule_id)
        await firing.start(session, await repository.get_schedule(session, watched.schedule_id))


async def test_an_answer_to_a_paused_schedule_fires_nothing(watch):
    watched = await watch()
    await watched.look(commit=FIRST)
    answer = await watched.answer(await watched.ask(), commit=SECOND)
    await paused(watched)
    await deliver(watched.gateway, answer)
    assert (watched.commits, (await watched.read()).watch.found) == ([], "")


@pytest.mark.parametrize(
    ("policy", "fired"), [(MissedPolicy.SKIP, [THIRD]), (MissedPolicy.CATCH_UP, [SECOND, THIRD])], ids=lambda p: str(p)
)
async def test_what_came_while_it_was_paused_is_skipped_or_caught_up(watch, policy, fired):
    watched = await watch(policy=policy)
    await watched.look(commit=FIRST)
    await paused(watched)
    await resumed(watched)
    await watched.look(commit=SECOND)
    await watched.look(commit=THIRD)
    assert watched.commits == fired


async def test_commits_that_come_while_the_task_before_runs_are_skipped_and_counted(watch):
    watched = await watch(overlap=OverlapPolicy.SKIP)
    for commit in (FIRST, SECOND, THIRD, THIRD):
        await watched.look(commit=commit)
    schedule = await watched.read()
    assert (watched.commits, schedule.skipped_count, schedule.last_skip) == ([SECOND], 1, OVERLAPS)


async def test_the_newest_of_commits_that_wait_makes_a_task(watch, database, tenant):
    watched = await watch(overlap=OverlapPolicy.QUEUE)
    newest = uuid4().hex + "0" * 8
    for commit in (FIRST, SECOND, THIRD, newest):
        await watched.look(commit=commit)
    await end_task(watched.gateway, database, tasks_of(database, tenant)[0][0])
    await deliver(watched.gateway, waiting_of(database, watched.schedule_id))
    assert (watched.commits, (await watched.read()).skipped_count) == ([SECOND, newest], 1)


async def fires_each_commit_once_and_in_order(watch):
    """Whether late and repeated answers change nothing, and what was there first fires nothing."""
    watched = await watch()
    await watched.look(commit=FIRST)
    late = await watched.answer(await watched.ask(), commit=SECOND)
    await watched.database.change("UPDATE gateway.schedules SET asked_at = now() - interval '16 minutes'")
    question = await watched.ask()
    again = await watched.answer(question, commit=FIRST)
    await deliver(watched.gateway, await watched.answer(question, commit=THIRD))
    await fire(watched.gateway, watched.database, watched.schedule_id)
    for answer in (late, again):
        await deliver(watched.gateway, answer)
    known = (await watched.read()).watch
    return (watched.commits, known.settled, known.found) == ([THIRD], THIRD, "")


async def test_each_commit_fires_once_and_in_order(watch):
    assert await fires_each_commit_once_and_in_order(watch)


MUTATIONS = {
    "any question's answer": ("settle_check", " AND check_id = %(check_id)s", " AND %(check_id)s::uuid IS NOT NULL"),
    "the first commit fires": ("settle_check", "IN ('', %(commit)s)", "IN (%(commit)s)"),
    "the commit is not settled": ("settle_commit", "settled_commit = found_commit, ", ""),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_firing_a_commit_once_is_tested_by_mutation(watch, mutation, monkeypatch):
    name, found, changed = MUTATIONS[mutation]
    statement = repository.QUERIES[name]
    assert found in statement
    monkeypatch.setattr(repository, "QUERIES", ChainMap({name: statement.replace(found, changed)}, repository.QUERIES))
    assert not await fires_each_commit_once_and_in_order(watch)
