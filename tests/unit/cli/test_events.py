"""The command `events`: what is asked of the gateway, and what a person and a program are told."""

from __future__ import annotations

import json

import grpc
import pytest

from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.cli import feed
from morningai.cli.connection import Target
from morningai.cli.feed import follow_events
from morningai.cli.following import Patience
from morningai.cli.gateway import Gateway
from morningai.errors import FailedPrecondition, InvalidInput, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import KEY, TASK, Script


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "Patience", lambda: Patience(first_delay_seconds=0.0))


def asked(script: Script) -> list[api.WatchEventsRequest]:
    return [api.WatchEventsRequest.FromString(one.SerializeToString()) for one in script.requests("WatchEvents")]


def test_all_that_is_kept_is_shown_with_what_to_ask_next(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("events")

    assert asked(script) == [api.WatchEventsRequest(from_oldest=True)]
    assert said.code == 0
    assert [TASK in line for line in said.out.splitlines()] == [True] * 4
    assert said.err == "next: morningai events --after t4\n"


def test_a_program_is_told_every_token(tenant_cli: Cli) -> None:
    said = tenant_cli("events", "--json")

    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["token"] for line in lines] == ["t1", "t2", "t3", "t4", "t4"]
    assert [line["event"]["id"] for line in lines if "event" in line] == ["e1", "e2", "e3", "e4"]
    assert said.err == ""


def test_the_filter_and_the_token_are_passed_on(tenant_cli: Cli, script: Script) -> None:
    short = TASK.removeprefix("tasks/")
    said = tenant_cli("events", "--type", "task.failed", "--type", "task.started", "--task", short, "--after", "t3")

    wanted = api.WatchEventsRequest(after_token="t3", event_types=["task.failed", "task.started"], task=TASK)
    assert asked(script) == [wanted]
    assert len(said.out.splitlines()) == 1


def test_following_begins_now_and_ends_with_the_task(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("events", "--follow", "--task", TASK)

    assert asked(script) == [api.WatchEventsRequest(task=TASK)]
    assert said.code == 0
    assert len(said.out.splitlines()) == 4


def test_following_goes_on_behind_the_last_token_when_the_connection_breaks(tenant_cli: Cli, script: Script) -> None:
    script.breaks_after = [2, 0, 1]

    said = tenant_cli("events", "--follow", "--task", TASK, "--from-oldest")

    assert [(one.after_token, one.from_oldest) for one in asked(script)] == [
        ("", True),
        ("t2", False),
        ("t2", False),
        ("t3", False),
    ]
    assert len(said.out.splitlines()) == 4
    assert said.err.count("connection lost") == 2


def test_a_response_without_an_event_moves_the_token_on(address: str, script: Script) -> None:
    script.endless = True
    with Gateway(Target(address), KEY) as gateway:
        found = []
        for response in follow_events(gateway, api.WatchEventsRequest(after_token="t3")):
            found.append(response)
            if not response.HasField("event"):
                break

    assert [response.token for response in found] == ["t4", "t4"]


def test_a_gateway_that_stays_away_is_waited_for_so_many_times(address: str, script: Script) -> None:
    script.failures["WatchEvents"] = [Unavailable("away") for _ in range(9)]
    with Gateway(Target(address), KEY) as gateway, pytest.raises(grpc.RpcError):
        list(follow_events(gateway, api.WatchEventsRequest(), patience=Patience(3, 0.0)))

    assert len(script.requests("WatchEvents")) == 3


def test_a_token_that_is_too_old_is_told_with_its_remedy(tenant_cli: Cli, script: Script) -> None:
    script.failures["WatchEvents"] = [FailedPrecondition("No longer kept.", remedy="Use from_oldest.")]

    said = tenant_cli("events", "--after", "t1")

    assert said.code == 1
    assert "Use from_oldest." in said.err
    assert len(script.requests("WatchEvents")) == 1


def test_a_token_that_is_none_is_bad_input(tenant_cli: Cli, script: Script) -> None:
    script.failures["WatchEvents"] = [InvalidInput("after_token", "is not one of this feed.")]

    assert tenant_cli("events", "--after", "x", "--json").code == 2
