"""Schedule commands: what is asked of the gateway, and what a person and a program are told."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration

from morningai.api.schedules.v1 import schedules_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.errors import InvalidInput, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import COMMIT, SCHEDULE, TASK, Script, at, schedule

ID = SCHEDULE.removeprefix("schedules/")


def test_a_schedule_is_asked_for_with_everything_that_was_given(tenant_cli: Cli, script: Script) -> None:
    kinds = ("--kind", "answer", "--kind", "document")
    times = (
        "--cron",
        "30 6 * * mon",
        "--zone",
        "Europe/Berlin",
        "--missed",
        "catch_up",
        "--overlap",
        "queue",
        "--ttl",
        "2h",
    )
    tenant_cli("schedule", "create", "What is new?", "--source", "shop", "--name", "news", *kinds, *times)

    (request,) = script.requests("CreateSchedule")
    assert isinstance(request, api.CreateScheduleRequest)
    assert UUID(request.request_id)
    assert request.schedule == api.Schedule(
        display_name="news",
        task=tasks.Task(
            instruction="What is new?",
            source="sources/shop",
            kinds=[tasks.TASK_KIND_ANSWER, tasks.TASK_KIND_DOCUMENT],
            priority=tasks.TASK_PRIORITY_NORMAL,
            ttl=timedelta(hours=2),
        ),
        cron=api.CronTrigger(expression="30 6 * * mon", time_zone="Europe/Berlin"),
        missed_policy=api.MISSED_POLICY_CATCH_UP,
        overlap_policy=api.OVERLAP_POLICY_QUEUE,
    )


def test_a_schedule_on_commits_is_asked_for(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("schedule", "create", "What is new?", "--source", "shop", "--on-commit", "--branch", "main")

    (request,) = script.requests("CreateSchedule")
    assert isinstance(request, api.CreateScheduleRequest)
    assert request.schedule.WhichOneof("trigger") == "commit"
    assert request.schedule.commit == api.CommitTrigger(branch="main", poll_interval=Duration(seconds=300))


@pytest.mark.parametrize("given", [(), ("--on-commit", "--cron", "0 0 * * *")], ids=["neither", "both"])
def test_a_schedule_has_one_way_to_fire(tenant_cli: Cli, script: Script, given: tuple[str, ...]) -> None:
    said = tenant_cli("schedule", "create", "What is new?", "--source", "shop", *given)

    assert said.code != 0
    assert "Give one of them." in said.err
    assert script.requests("CreateSchedule") == []


def test_what_is_known_of_the_branch_is_said(tenant_cli: Cli, script: Script) -> None:
    failure = tasks.Failure(message="git.example.org did not answer.", remedy="Look at it.")
    watch = api.BranchWatch(commit=COMMIT, check_time=at(5), failed_checks=3, failure=failure)
    commit = api.CommitTrigger(branch="main", poll_interval=Duration(seconds=300))
    script.schedule = schedule(watch=watch, commit=commit)

    said = tenant_cli("schedule", "show", ID)

    assert "on commits of main, looked at every 300 s" in said.out
    assert "looked 2026-11-23" in said.out
    assert COMMIT in said.out
    assert "could not look, 3 in a row  git.example.org did not answer. Look at it." in said.out


def test_a_schedule_without_a_name_is_called_like_its_instruction(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("schedule", "create", "What is new?", "--source", "shop", "--cron", "0 0 * * *")

    (request,) = script.requests("CreateSchedule")
    assert isinstance(request, api.CreateScheduleRequest)
    assert request.schedule.display_name == "What is new?"


def test_a_creation_is_repeated_as_the_same_request(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateSchedule"] = [Unavailable("Try again.")]

    said = tenant_cli("schedule", "create", "What is new?", "--source", "shop", "--cron", "0 0 * * *")

    first, second = script.requests("CreateSchedule")
    assert (said.code, first) == (0, second)


def test_a_wrong_expression_is_said_with_its_field(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateSchedule"] = [InvalidInput("schedule.cron.expression", "Bad minute.", remedy="Use five.")]

    said = tenant_cli("schedule", "create", "What is new?", "--source", "shop", "--cron", "61 0 * * *")

    assert said.code != 0
    assert "schedule.cron.expression" in said.err


def test_schedules_are_listed(tenant_cli: Cli) -> None:
    said = tenant_cli("schedule", "list")

    assert said.out.splitlines()[1].startswith(f"{ID}  active  30 6 * * mon · Europe/Berlin  ")
    assert said.out.splitlines()[1].endswith("weekly news")


def test_schedules_as_json(tenant_cli: Cli) -> None:
    said = tenant_cli("schedule", "list", "--json")

    assert said.json["schedules"][0]["name"] == SCHEDULE  # type: ignore[index]


@pytest.mark.parametrize("name", [SCHEDULE, ID])
def test_a_paused_schedule_says_why(tenant_cli: Cli, script: Script, name: str) -> None:
    why = tasks.Failure(reason="principal_may_not", message="The key is revoked.", remedy="Resume it.")
    script.schedule = schedule(state=api.SCHEDULE_STATE_PAUSED, last_failure=why)

    said = tenant_cli("schedule", "show", name)

    assert script.requests("GetSchedule") == [api.GetScheduleRequest(name=SCHEDULE)]
    assert "paused · answer · sources/" in said.out
    assert TASK in said.out
    assert "The key is revoked. Resume it." in said.out


@pytest.mark.parametrize(
    ("command", "request_", "state"),
    [
        ("pause", api.PauseScheduleRequest(name=SCHEDULE), "paused"),
        ("resume", api.ResumeScheduleRequest(name=SCHEDULE), "active"),
    ],
)
def test_a_schedule_is_paused_and_resumed(
    tenant_cli: Cli, script: Script, command: str, request_: object, state: str
) -> None:
    said = tenant_cli("schedule", command, ID)

    assert script.requests(f"{command.title()}Schedule") == [request_]
    assert f"{state} · answer" in said.out


def test_what_was_skipped_and_what_waits_is_said(tenant_cli: Cli, script: Script) -> None:
    why = tasks.Failure(message="It had not ended.", remedy="Queue it.")
    script.schedule = schedule(
        waiting_fire_time=at(90), skipped_count=3, last_skip_time=at(30), last_skip=why, overlap_policy=2
    )

    said = tenant_cli("schedule", "show", ID)

    assert "overlapping: queue" in said.out
    assert "waiting since 2026-11-23" in said.out
    assert "skipped 3 · last 2026-11-23" in said.out
    assert "It had not ended. Queue it." in said.out


def test_a_deleted_schedule_is_named(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("schedule", "delete", ID, "--json")

    assert script.requests("DeleteSchedule") == [api.DeleteScheduleRequest(name=SCHEDULE)]
    assert said.json == {"deleted": SCHEDULE}
