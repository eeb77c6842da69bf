"""Schedule commands: what is asked of the gateway, and what a person and a program are told."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from morningai.api.schedules.v1 import schedules_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.errors import InvalidInput, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import SCHEDULE, TASK, Script

ID = SCHEDULE.removeprefix("schedules/")


def test_a_schedule_is_asked_for_with_everything_that_was_given(tenant_cli: Cli, script: Script) -> None:
    kinds = ("--kind", "answer", "--kind", "document")
    times = ("--cron", "30 6 * * mon", "--zone", "Europe/Berlin", "--missed", "catch_up", "--ttl", "2h")
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
    )


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

    assert said.out.splitlines()[1].startswith(f"{ID}  active  30 6 * * mon  Europe/Berlin  ")
    assert said.out.splitlines()[1].endswith("weekly news")


def test_schedules_as_json(tenant_cli: Cli) -> None:
    said = tenant_cli("schedule", "list", "--json")

    assert said.json["schedules"][0]["name"] == SCHEDULE  # type: ignore[index]


@pytest.mark.parametrize("name", [SCHEDULE, ID])
def test_a_paused_schedule_says_why(tenant_cli: Cli, script: Script, name: str) -> None:
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


def test_a_deleted_schedule_is_named(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("schedule", "delete", ID, "--json")

    assert script.requests("DeleteSchedule") == [api.DeleteScheduleRequest(name=SCHEDULE)]
    assert said.json == {"deleted": SCHEDULE}
