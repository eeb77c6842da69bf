"""The feed of a tenant's events: its order, its places, and who is refused.

The gateway is in the test's process; events are applied beside it, in transactions that a test holds open at will.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import grpc
import psycopg
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus.catalogue import message_type
from morningai.bus.envelope import Envelope
from morningai.db.migrate import migrate
from morningai.db.session import Database
from morningai.rpc.status import remedy_of
from morningai.secrets.key_ring import KeyRing, make_key
from services.gateway import event_feed
from services.gateway.domain.events import FeedPlace
from services.gateway.event_tokens import EventTokens
from services.gateway.handlers import keep_and_apply, make_handlers
from services.gateway.repository import events as repository
from tests.conftest import PASSWORDS
from tests.integration.gateway.door import insert_task, open_door
from tests.integration.gateway.platform import bearer, connected, field_of

ROOT = Path(__file__).parents[3]
PROGRAM = re.search(r"```python\n(.*?)```", (ROOT / "docs/guides/events.md").read_text(), re.DOTALL).group(1)
KEYS = make_key("k1")
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
SECONDS = 10.0


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    """Nobody tells the gateway of what is applied beside it."""
    monkeypatch.setattr(event_feed, "LOOK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(event_feed, "PROVE_AGAIN_SECONDS", 0.05)


@pytest.fixture
async def door(database):
    with tempfile.TemporaryDirectory(prefix="ev") as folder:
        async with open_door(database, Path(folder), secret_keys=KEYS, key_cache_seconds=0.2) as address:
            yield address


@pytest.fixture
async def client(door, tenant):
    async with connected(door, bearer(tenant.api_key)) as client:
        yield client


@pytest.fixture
async def gateway(database):
    """The login that applies."""
    opened = Database(database.dsn("gateway_app"))
    await opened.open()
    yield opened
    await opened.close()


def message_of(task, sequence, body=events.TaskStepChanged, state=tasks.TASK_STATE_RUNNING):
    event = tasks.TaskEvent(task=task, sequence=sequence, type="step.started", task_state=state)
    return body(event=event)


def large(event):
    """More of them than a connection takes before somebody reads."""
    event.failure.message = "x" * 200_000
    return events.TaskStepChanged(event=event)


def received(session, task, sequence, *rest):
    message = message_of(task, sequence, *rest)
    envelope = Envelope(
        id=uuid4(),
        type=message_type(type(message)),
        source="orchestrator",
        tenant_id=session.tenant_id,
        task_id=UUID(task.removeprefix("tasks/")),
        seal="",
        traceparent="",
        body=b"",
    )
    return envelope, message


async def apply(session, task, sequence, *rest):
    """In the session's transaction; returns the event's id."""
    one = received(session, task, sequence, *rest)
    await keep_and_apply(session, [one])
    return str(one[0].id)


async def test_what_had_waited_is_applied_and_told_with_what_it_waited_for(gateway, tenant):
    """To watchers, too, who came after it."""
    task = insert_task(tenant)
    told = []
    feed = SimpleNamespace(arrived=lambda _, __, *applied: told.append([event.sequence for event in applied]))
    handler = make_handlers(feed, None)[events.TaskStepChanged]
    for sequences in ((3,), (6, 5), (1, 2), (4,)):
        async with gateway.tenant_session(tenant.grant()) as session:
            await handler.handle(session, [received(session, task, sequence) for sequence in sequences])
    assert told == [[1, 2, 3], [4, 5, 6]]


async def applied(gateway, tenant, task, sequence, *rest):
    async with gateway.tenant_session(tenant.grant()) as session:
        return await apply(session, task, sequence, *rest)


@asynccontextmanager
async def running_guide(address, tenant, folder):
    """The guide's program, whose place is in the folder; `await line()` is the next that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MORNINGAI_ADDRESS": address}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        cwd=folder,
        env=environment | {"MORNINGAI_API_KEY": tenant.api_key},
        stdout=asyncio.subprocess.PIPE,
    )

    async def line():
        return (await asyncio.wait_for(process.stdout.readline(), SECONDS)).decode().split()

    yield line
    process.kill()
    await process.wait()


class Watching:
    """One stream, and what came of it so far."""

    def __init__(self, client, **request):
        self.call = client.subscriptions.WatchEvents(api.WatchEventsRequest(**request), timeout=60)

    async def next(self):
        return await asyncio.wait_for(self.call.read(), SECONDS)

    async def next_event(self):
        while True:
            response = await self.next()
            assert response is not grpc.aio.EOF
            if response.HasField("event"):
                return response

    async def caught_up(self):
        """The events before it says so, and its token."""
        found = []
        while (response := await self.next()).HasField("event"):
            found.append(response)
        return found, response.token


async def ids_after(client, **request):
    watching = Watching(client, **request)
    found, _ = await watching.caught_up()
    watching.call.cancel()
    return [response.event.id for response in found]


async def refusal(client, **request):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ids_after(client, **request)
    return refused.value


async def test_events_come_with_the_id_and_type_of_the_bus_in_the_order_of_their_task(client, gateway, tenant):
    task = insert_task(tenant)
    watching = Watching(client)
    assert not (await watching.next()).HasField("event")
    made = [await applied(gateway, tenant, task, 1, events.TaskStarted)]
    made += [await applied(gateway, tenant, task, number) for number in (2, 3)]
    found = [(await watching.next_event()).event for _ in range(3)]
    assert [event.id for event in found] == made
    assert [event.type for event in found] == ["task.started", "task.step_changed", "task.step_changed"]
    assert [event.task_event for event in found] == [message_of(task, number).event for number in (1, 2, 3)]


async def test_an_event_that_is_committed_after_a_later_one_is_not_skipped(client, gateway, tenant):
    slow, fast = insert_task(tenant), insert_task(tenant)
    watching = Watching(client)
    await watching.next()
    async with gateway.tenant_session(tenant.grant()) as session:
        first = await apply(session, slow, 1)
        second = await applied(gateway, tenant, fast, 1)
        reading = asyncio.ensure_future(watching.next_event())
        await asyncio.sleep(0.5)
        assert not reading.done()
    assert [(await reading).event.id, (await watching.next_event()).event.id] == [first, second]


async def test_what_is_held_back_comes_when_the_slow_transaction_rolls_back(client, gateway, tenant):
    slow, fast = insert_task(tenant), insert_task(tenant)
    watching = Watching(client)
    await watching.next()
    async with gateway.tenant_session(tenant.grant()) as session:
        await apply(session, slow, 1)
        second = await applied(gateway, tenant, fast, 1)
        await session.connection.execute("ROLLBACK")
    assert (await watching.next_event()).event.id == second


async def test_what_is_held_back_is_looked_for_though_nobody_tells_of_it(client, gateway, tenant, monkeypatch):
    monkeypatch.setattr(event_feed, "LOOK_AGAIN_SECONDS", 60.0)
    slow, fast = insert_task(tenant), insert_task(tenant)
    async with gateway.tenant_session(tenant.grant()) as session:
        first = await apply(session, slow, 1)
        await applied(gateway, tenant, fast, 1)
        watching = Watching(client, from_oldest=True)
        assert not (await watching.next()).HasField("event")
    assert (await watching.next_event()).event.id == first


async def test_no_token_that_was_given_while_transactions_were_open_skips_what_they_commit(client, gateway, tenant):
    slow, fast = insert_task(tenant), insert_task(tenant)
    async with gateway.tenant_session(tenant.grant()) as session:
        first = await apply(session, slow, 1)
        second = await applied(gateway, tenant, fast, 1)
        _, token = await Watching(client, from_oldest=True).caught_up()
        _, later = await Watching(client).caught_up()
    third = await applied(gateway, tenant, fast, 2)
    assert await ids_after(client, after_token=token) == [first, second, third]
    assert await ids_after(client, after_token=later) == [first, second, third]


async def test_events_of_a_task_keep_their_order_when_the_later_one_began_first(client, gateway, tenant):
    task, other = insert_task(tenant), insert_task(tenant)
    async with gateway.tenant_session(tenant.grant()) as early:
        await early.row("SELECT pg_current_xact_id()")  # as the receipt in the inbox does
        first = await applied(gateway, tenant, task, 1)
        between = await applied(gateway, tenant, other, 1)
        second = await apply(early, task, 2)
    assert await ids_after(client, from_oldest=True) == [first, second, between]


async def test_an_event_that_arrives_early_takes_its_place_after_the_one_before_it(client, gateway, tenant):
    task, other = insert_task(tenant), insert_task(tenant)
    third, second = [await applied(gateway, tenant, task, number) for number in (3, 2)]
    between = await applied(gateway, tenant, other, 1)
    assert await ids_after(client, from_oldest=True) == [between]
    first = await applied(gateway, tenant, task, 1)
    assert await ids_after(client, from_oldest=True) == [between, first, second, third]


async def test_events_that_are_applied_in_many_transactions_at_once_come_once_each_from_every_token(
    client, gateway, tenant
):
    watching = Watching(client)
    await watching.next()

    async def run(task):
        return [await applied(gateway, tenant, task, number) for number in range(1, 9)]

    made = await asyncio.gather(*(run(insert_task(tenant)) for _ in range(6)))
    found = [await watching.next_event() for _ in range(48)]
    ids = [response.event.id for response in found]
    assert sorted(ids) == sorted(one for of_task in made for one in of_task)
    assert all([one for one in ids if one in of_task] == of_task for of_task in made)
    for number, response in enumerate(found, start=1):
        assert await ids_after(client, after_token=response.token) == ids[number:]


async def test_a_filter_by_type_and_task_leaves_the_others_out(client, gateway, tenant):
    task, other = insert_task(tenant), insert_task(tenant)
    started = [await applied(gateway, tenant, one, 1, events.TaskStarted) for one in (task, other)]
    step = await applied(gateway, tenant, task, 2)
    of_types, of_task = {"event_types": ["task.started"]}, {"task": task}
    assert await ids_after(client, from_oldest=True, **of_types) == started
    assert await ids_after(client, from_oldest=True, **of_task) == [started[0], step]
    assert await ids_after(client, from_oldest=True, **of_types, **of_task) == started[:1]


async def test_a_watch_of_one_task_ends_with_it(client, gateway, tenant):
    task = insert_task(tenant)
    watching = Watching(client, task=task)
    await watching.next()
    await applied(gateway, tenant, task, 1, events.TaskSucceeded, tasks.TASK_STATE_SUCCEEDED)
    assert (await watching.next_event()).event.type == "task.succeeded"
    responses = [response async for response in watching.call]
    assert [response.HasField("event") for response in responses] in ([], [False])


async def test_a_watch_of_an_ended_task_does_not_wait_for_other_tasks(client, gateway, tenant):
    task, slow, fast = insert_task(tenant), insert_task(tenant), insert_task(tenant)
    ended = await applied(gateway, tenant, task, 1, events.TaskSucceeded, tasks.TASK_STATE_SUCCEEDED)
    async with gateway.tenant_session(tenant.grant()) as session:
        await apply(session, slow, 1)
        await applied(gateway, tenant, fast, 1)
        watching = Watching(client, task=task, from_oldest=True)
        assert (await watching.next_event()).event.id == ended
        assert not (await watching.next()).HasField("event")
        assert await watching.next() is grpc.aio.EOF


async def test_many_events_come_in_pages(client, gateway, tenant, monkeypatch):
    monkeypatch.setattr(repository, "MOST_EVENTS", 3)
    task = insert_task(tenant)
    made = [await applied(gateway, tenant, task, number) for number in range(1, 11)]
    assert await ids_after(client, from_oldest=True) == made


async def test_large_events_come_in_smaller_pages(client, gateway, tenant, monkeypatch):
    monkeypatch.setattr(repository, "MOST_BYTES", 1)
    task = insert_task(tenant)
    made = [await applied(gateway, tenant, task, number) for number in range(1, 5)]
    async with gateway.tenant_session(tenant.grant()) as session:
        wanted = event_feed.Wanted(("task.step_changed",))
        page = await repository.list_feed(session, wanted, after=FeedPlace(0, 0))
    assert (len(page.events), page.has_more) == (1, True)
    assert await ids_after(client, from_oldest=True) == made


async def test_a_token_moves_on_though_nothing_is_heard(client, gateway, tenant, monkeypatch):
    monkeypatch.setattr(event_feed, "PLACE_SECONDS", 0.1)
    watching = Watching(client, event_types=["task.failed"])
    before = await watching.next()
    made = await applied(gateway, tenant, insert_task(tenant), 1)
    after = await watching.next()
    while after.token == before.token or await ids_after(client, after_token=after.token):
        after = await watching.next()
    assert not after.HasField("event")
    assert await ids_after(client, after_token=before.token) == [made]


def roll_back(database):
    """A transaction that has a number, and leaves nothing that a crash would not undo."""
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        connection.rollback()


async def test_no_token_counts_on_transactions_that_a_crash_undoes(client, gateway, tenant, database):
    """PostgreSQL gives their numbers once more; only what was committed is sure to be below those to come."""
    await applied(gateway, tenant, insert_task(tenant), 1)
    roll_back(database)
    _, end = await Watching(client, from_oldest=True).caught_up()
    _, begin = await Watching(client).caught_up()
    ((position, sequence),) = database.rows("SELECT feed_position, sequence FROM gateway.task_events")
    tokens = EventTokens(KeyRing.parse(KEYS))
    assert {tokens.read(tenant.tenant_id, token) for token in (end, begin)} == {FeedPlace(position, sequence)}


def sweep(database):
    """What a sweep deletes after the shortest time that is allowed."""
    with psycopg.connect(database.dsn("gateway_relay"), autocommit=True) as connection:
        connection.execute("SELECT gateway.sweep_tasks('8 days', 100)")


def end_long_ago(database, task):
    statement = "UPDATE gateway.tasks SET ended_at = now() - interval '9 days' WHERE task_id = '{}'"
    database.execute(statement.format(task.removeprefix("tasks/")))
    database.execute("UPDATE gateway.task_events SET received_at = received_at - interval '9 days'")


async def test_a_token_is_refused_once_events_that_followed_it_are_deleted(client, gateway, tenant, database):
    old, new = insert_task(tenant), insert_task(tenant)
    _, start = await Watching(client).caught_up()
    for number in (1, 2):
        await applied(gateway, tenant, old, number)
    found, _ = await Watching(client, from_oldest=True).caught_up()
    kept = await applied(gateway, tenant, new, 1)
    end_long_ago(database, old)
    sweep(database)
    for token in (start, found[0].token):
        error = await refusal(client, after_token=token)
        assert error.code() is FAILED_PRECONDITION
        assert "from_oldest" in remedy_of(error)
    assert await ids_after(client, after_token=found[1].token) == [kept]
    assert await ids_after(client, from_oldest=True) == [kept]


async def test_what_another_tenant_lost_does_not_count(client, gateway, tenant, database):
    other = database.create_tenant("other")
    old = insert_task(other)
    _, start = await Watching(client).caught_up()
    await applied(gateway, other, old, 1)
    end_long_ago(database, old)
    sweep(database)
    assert await ids_after(client, after_token=start) == []


async def test_a_tenant_hears_of_its_own_events_alone(client, gateway, tenant, database, door):
    other = database.create_tenant("other")
    mine = await applied(gateway, tenant, insert_task(tenant), 1)
    theirs = await applied(gateway, other, insert_task(other), 1)
    async with connected(door, bearer(other.api_key)) as neighbour:
        assert await ids_after(neighbour, from_oldest=True) == [theirs]
    assert await ids_after(client, from_oldest=True) == [mine]


async def test_a_token_of_another_tenant_and_a_forged_one_are_refused_alike(client, gateway, tenant, database, door):
    other = database.create_tenant("other")
    await applied(gateway, other, insert_task(other), 1)
    async with connected(door, bearer(other.api_key)) as neighbour:
        ((response,), _) = await Watching(neighbour, from_oldest=True).caught_up()
    forged = EventTokens(KeyRing.parse(make_key("k1"))).write(tenant.tenant_id, FeedPlace(1, 1))
    turned = response.token[:-6] + ("A" if response.token[-6] != "A" else "B") + response.token[-5:]
    tokens = [response.token, forged, turned, "k1.", "k2.AAAA", "x", "k1." + "A" * 10_000, "💥", "."]
    refusals = [await refusal(client, after_token=token) for token in tokens]
    assert {error.code() for error in refusals} == {INVALID}
    assert {field_of(error) for error in refusals} == {"after_token"}
    assert len({error.details() for error in refusals}) == 1


async def test_a_token_of_a_later_life_of_the_database_is_refused(client, tenant):
    token = EventTokens(KeyRing.parse(KEYS)).write(tenant.tenant_id, FeedPlace(2**60, 1))
    error = await refusal(client, after_token=token)
    assert error.code() is FAILED_PRECONDITION
    assert "from_oldest" in remedy_of(error)


async def test_every_token_goes_on_when_the_database_was_restored_where_transactions_have_lower_numbers(
    client, gateway, tenant, database
):
    """As a dump in a new cluster is found: what it holds was numbered higher, by another one."""
    database.execute("UPDATE gateway.feed_life SET cluster = 'the one before', first_position = 1000000")
    made = [await applied(gateway, tenant, insert_task(tenant), 1) for _ in range(2)]
    found, end = await Watching(client, from_oldest=True).caught_up()
    database.execute("UPDATE gateway.feed_life SET first_position = 0")
    for _ in range(2):
        migrate(database.admin_dsn, PASSWORDS)
    made += [await applied(gateway, tenant, insert_task(tenant), 1) for _ in range(2)]
    assert await ids_after(client, from_oldest=True) == made
    assert await ids_after(client, after_token=found[0].token) == made[1:]
    assert await ids_after(client, after_token=end) == made[2:]
    assert database.rows("SELECT first_position FROM gateway.feed_life") == [(2**40,)]


async def test_the_task_of_another_tenant_is_not_found(client, database):
    other = database.create_tenant("other")
    assert (await refusal(client, task=insert_task(other))).code() is NOT_FOUND


async def test_what_contradicts_itself_or_is_no_type_is_refused(client):
    _, token = await Watching(client).caught_up()
    both = await refusal(client, after_token=token, from_oldest=True)
    assert (both.code(), field_of(both)) == (INVALID, "from_oldest")
    unknown = await refusal(client, event_types=["task.started", "source.indexed"])
    assert (unknown.code(), field_of(unknown)) == (INVALID, "event_types")
    assert "task.step_changed" in remedy_of(unknown)


async def test_a_watch_ends_when_its_key_is_revoked(client, tenant, database, monkeypatch):
    monkeypatch.setattr(event_feed, "LOOK_AGAIN_SECONDS", 60.0)
    watching = Watching(client)
    await watching.next()
    reading = asyncio.ensure_future(watching.call.read())
    await asyncio.sleep(0.5)
    assert not reading.done()
    began = time.monotonic()
    database.execute("UPDATE tenancy.api_keys SET revoked_at = now()")
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await asyncio.wait_for(reading, SECONDS)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert time.monotonic() - began < 2


async def test_a_watch_that_nobody_reads_holds_no_other(client, gateway, tenant):
    """And no connection to PostgreSQL, of which the gateway has eight."""
    task = insert_task(tenant)
    made = [await applied(gateway, tenant, task, number, large) for number in range(1, 101)]
    slow = [Watching(client, from_oldest=True) for _ in range(12)]
    await asyncio.sleep(0.5)
    assert await ids_after(client, from_oldest=True) == made
    for watching in slow:
        watching.call.cancel()


async def test_the_program_of_the_guide_goes_on_where_it_was_killed(door, gateway, tenant, tmp_path, eventually):
    task, place = insert_task(tenant), tmp_path / "place"
    async with running_guide(door, tenant, tmp_path):
        await eventually(place.exists)
    made = [await applied(gateway, tenant, task, number) for number in (1, 2)]
    async with running_guide(door, tenant, tmp_path) as line:
        assert [await line() for _ in made] == [[event_id, "task.step_changed"] for event_id in made]
        tokens = EventTokens(KeyRing.parse(KEYS))
        await eventually(lambda: tokens.read(tenant.tenant_id, place.read_text()).sequence >= len(made))
    last = await applied(gateway, tenant, task, 3)
    async with running_guide(door, tenant, tmp_path) as line:
        assert await line() == [last, "task.step_changed"]
