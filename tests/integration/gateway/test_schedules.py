"""Schedules as clients meet them at the door, and one that fires through the bus."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from morningai.api.schedules.v1 import schedules_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import audit_pb2 as audit
from tests.conftest import eventually
from tests.integration.gateway.platform import ANSWER, field_of, first_events

ACTIVE, PAUSED = api.SCHEDULE_STATE_ACTIVE, api.SCHEDULE_STATE_PAUSED
NOW = "UPDATE gateway.outbox SET due_at = now() WHERE due_at > now() AND tenant_id = '{}'; NOTIFY outbox_gateway"


def new_schedule(expression="0 0 1 1 *", zone="Europe/Berlin", request_id=None, **fields):
    task = tasks.Task(instruction="what is new?", source="sources/small", kinds=ANSWER)
    wanted = {"display_name": "news", "task": task, **fields}
    cron = api.CronTrigger(expression=expression, time_zone=zone)
    return api.CreateScheduleRequest(schedule=api.Schedule(cron=cron, **wanted), request_id=str(request_id or uuid4()))


async def get(client, schedule):
    return await client.schedules.GetSchedule(api.GetScheduleRequest(name=schedule.name))


async def code_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_schedule_fires_a_task_and_waits_for_the_next_time(platform, client, acme):
    made = await client.schedules.CreateSchedule(new_schedule())
    await platform.database.change(NOW.format(acme.tenant_id))
    await eventually(
        lambda: bool(platform.database.rows("SELECT 1 FROM gateway.tasks WHERE tenant_id = %s", acme.tenant_id))
    )
    fired = await get(client, made)
    task = await client.tasks.GetTask(tasks.GetTaskRequest(name=fired.last_task))
    assert (task.instruction, task.source, list(task.kinds)) == ("what is new?", "sources/small", ANSWER)
    assert fired.last_fire_time == made.next_fire_time
    assert fired.next_fire_time.seconds > made.next_fire_time.seconds
    assert [event.type for event in await first_events(client, task, 1)] == ["task.started"]


async def test_each_task_of_a_schedule_has_its_time_to_live(platform, client, acme):
    task = tasks.Task(instruction="what is new?", source="sources/small", kinds=ANSWER, ttl=timedelta(hours=36))
    request = new_schedule(task=task)
    made = await client.schedules.CreateSchedule(request)
    assert made.task.ttl.ToTimedelta() == timedelta(hours=36)
    assert await client.schedules.CreateSchedule(request) == made
    await platform.database.change(NOW.format(acme.tenant_id))
    await eventually(
        lambda: bool(platform.database.rows("SELECT 1 FROM gateway.tasks WHERE tenant_id = %s", acme.tenant_id))
    )
    fired = await client.tasks.GetTask(tasks.GetTaskRequest(name=(await get(client, made)).last_task))
    assert fired.expire_time.ToDatetime() - fired.create_time.ToDatetime() == timedelta(hours=36)


async def test_the_same_request_gives_the_same_schedule(client):
    request = new_schedule()
    made = await client.schedules.CreateSchedule(request)
    assert await client.schedules.CreateSchedule(request) == made
    assert [one.name for one in (await client.schedules.ListSchedules(api.ListSchedulesRequest())).schedules] == [
        made.name
    ]


async def test_a_request_id_is_not_good_for_another_schedule(client):
    made = new_schedule()
    await client.schedules.CreateSchedule(made)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.schedules.CreateSchedule(new_schedule("1 1 * * *", request_id=made.request_id))
    assert field_of(refused.value) == "request_id"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (new_schedule("0 0 * *"), "schedule.cron.expression"),
        (new_schedule("0 0 * * * *"), "schedule.cron.expression"),
        (new_schedule("61 0 * * *"), "schedule.cron.expression"),
        (new_schedule("0 0 30 2 *"), "schedule.cron.expression"),
        (new_schedule(zone="Mars/Olympus"), "schedule.cron.time_zone"),
        (new_schedule(display_name=""), "schedule.display_name"),
        (new_schedule(missed_policy=7), "schedule.missed_policy"),
        (new_schedule(overlap_policy=7), "schedule.overlap_policy"),
        (new_schedule(task=tasks.Task(source="sources/small", kinds=ANSWER)), "schedule.task.instruction"),
        (api.CreateScheduleRequest(schedule=new_schedule().schedule, request_id="x"), "request_id"),
    ],
)
async def test_what_is_wrong_is_named(client, request_, field):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.schedules.CreateSchedule(request_)
    assert (refused.value.code(), field_of(refused.value)) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def on_commit(seconds=60, branch="main", request_id=None, **fields):
    request = new_schedule(request_id=request_id, **fields)
    trigger = api.CommitTrigger(branch=branch, poll_interval=Duration(seconds=seconds))
    request.schedule.commit.CopyFrom(trigger)
    return request


async def test_a_schedule_on_commits_is_read_as_it_was_made(client):
    request = on_commit(overlap_policy=api.OVERLAP_POLICY_QUEUE)
    made = await client.schedules.CreateSchedule(request)
    assert (made.commit, made.overlap_policy) == (request.schedule.commit, api.OVERLAP_POLICY_QUEUE)
    assert (made.WhichOneof("trigger"), made.HasField("watch"), made.HasField("next_fire_time")) == (
        "commit",
        True,
        True,
    )
    assert (await client.schedules.CreateSchedule(request)).name == made.name  # it was looked at meanwhile
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.schedules.CreateSchedule(on_commit(61, request_id=request.request_id))
    assert field_of(refused.value) == "request_id"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (on_commit(59), "schedule.commit.poll_interval"),
        (on_commit(86401), "schedule.commit.poll_interval"),
        (on_commit(branch="-x"), "schedule.commit.branch"),
    ],
)
async def test_what_is_wrong_with_a_commit_trigger_is_named(client, request_, field):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.schedules.CreateSchedule(request_)
    assert (refused.value.code(), field_of(refused.value)) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_source_that_is_not_there_is_named(connect, acme):
    client = await connect(acme.api_key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.schedules.CreateSchedule(new_schedule())
    assert (refused.value.code(), field_of(refused.value)) == (grpc.StatusCode.NOT_FOUND, "schedule.task.source")


async def test_a_paused_schedule_does_not_fire_until_it_is_resumed(platform, client, acme):
    made = await client.schedules.CreateSchedule(new_schedule())
    paused = await client.schedules.PauseSchedule(api.PauseScheduleRequest(name=made.name))
    due = "SELECT 1 FROM gateway.outbox WHERE tenant_id = %s AND published_at IS NULL"
    assert (paused.state, paused.HasField("next_fire_time")) == (PAUSED, False)
    assert platform.database.rows(due, acme.tenant_id) == []
    resumed = await client.schedules.ResumeSchedule(api.ResumeScheduleRequest(name=made.name))
    assert (resumed.state, resumed.next_fire_time) == (ACTIVE, made.next_fire_time)
    assert len(platform.database.rows(due, acme.tenant_id)) == 1


async def test_whoever_resumes_a_schedule_is_whom_it_acts_for(client, connect, new_tenant, platform, acme):
    made = await client.schedules.CreateSchedule(new_schedule())
    await client.schedules.PauseSchedule(api.PauseScheduleRequest(name=made.name))
    other = second_key(platform.database, acme)
    resuming = await connect(other)
    resumed = await resuming.schedules.ResumeSchedule(api.ResumeScheduleRequest(name=made.name))
    assert resumed.principal == f"apiKeys/{other.partition('.')[0]}"


def second_key(database, tenant):
    """A copy of the tenant's key under another id: its hash is that of the id and the secret."""
    key_id = f"mk_{uuid4().hex[:16]}"
    database.execute(
        "INSERT INTO tenancy.api_keys (tenant_id, key_id, hash_key_id, secret_hash, display_name, scopes) "
        f"SELECT tenant_id, '{key_id}', hash_key_id, kernel.mac(hash_key_id, 'api-key|{key_id}|secret'), 'x', scopes "
        f"FROM tenancy.api_keys WHERE tenant_id = '{tenant.tenant_id}'"
    )
    return f"{key_id}.secret"


async def test_a_deleted_schedule_is_gone_with_its_timer(platform, client, acme):
    made = await client.schedules.CreateSchedule(new_schedule())
    await client.schedules.DeleteSchedule(api.DeleteScheduleRequest(name=made.name))
    assert await code_of(get(client, made)) is grpc.StatusCode.NOT_FOUND
    due = "SELECT 1 FROM gateway.outbox WHERE tenant_id = %s AND published_at IS NULL"
    assert platform.database.rows(due, acme.tenant_id) == []


async def test_a_schedule_that_changed_since_it_was_read_stays(client):
    made = await client.schedules.CreateSchedule(new_schedule())
    await client.schedules.PauseSchedule(api.PauseScheduleRequest(name=made.name))
    stale = client.schedules.DeleteSchedule(api.DeleteScheduleRequest(name=made.name, etag=made.etag))
    assert await code_of(stale) is grpc.StatusCode.ABORTED


async def test_another_tenant_neither_sees_nor_changes_a_schedule(client, connect, new_tenant):
    made = await client.schedules.CreateSchedule(new_schedule())
    stranger = (await connect(new_tenant().api_key)).schedules
    calls = [
        stranger.GetSchedule(api.GetScheduleRequest(name=made.name)),
        stranger.PauseSchedule(api.PauseScheduleRequest(name=made.name)),
        stranger.ResumeSchedule(api.ResumeScheduleRequest(name=made.name)),
        stranger.DeleteSchedule(api.DeleteScheduleRequest(name=made.name)),
    ]
    assert {await code_of(call) for call in calls} == {grpc.StatusCode.NOT_FOUND}
    assert list((await stranger.ListSchedules(api.ListSchedulesRequest())).schedules) == []
    assert await get(client, made) == made


async def test_what_is_done_to_a_schedule_is_in_the_audit_log(client):
    made = await client.schedules.CreateSchedule(new_schedule())
    await client.schedules.PauseSchedule(api.PauseScheduleRequest(name=made.name))
    await client.schedules.ResumeSchedule(api.ResumeScheduleRequest(name=made.name))
    await client.schedules.DeleteSchedule(api.DeleteScheduleRequest(name=made.name))
    entries = (await client.audit.ListAuditEntries(audit.ListAuditEntriesRequest())).entries
    done = [entry.action for entry in entries if entry.resource == made.name]
    assert done == [f"schedules.{action}" for action in ("delete", "resume", "pause", "create")]


async def test_a_tenant_has_a_hundred_schedules_at_most(client):
    made = [await client.schedules.CreateSchedule(new_schedule()) for _ in range(100)]
    assert await code_of(client.schedules.CreateSchedule(new_schedule())) is grpc.StatusCode.FAILED_PRECONDITION
    first = await client.schedules.ListSchedules(api.ListSchedulesRequest(page_size=60))
    request = api.ListSchedulesRequest(page_size=60, page_token=first.next_page_token)
    second = await client.schedules.ListSchedules(request)
    assert [one.name for one in (*first.schedules, *second.schedules)] == [one.name for one in reversed(made)]
