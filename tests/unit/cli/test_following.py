from __future__ import annotations

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2
from morningai.cli.connection import Target
from morningai.cli.following import Patience, follow
from morningai.cli.gateway import Gateway, status_of
from morningai.cli.progress import QuietProgress
from morningai.errors import Unauthenticated, Unavailable
from tests.unit.cli.fake_gateway import KEY, TASK, Script


class Recorder(QuietProgress):
    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.lost: list[int] = []

    def on_event(self, event: tasks_pb2.TaskEvent) -> None:
        self.sequences.append(event.sequence)

    def on_lost(self, failures: int) -> None:
        self.lost.append(failures)


def _follow(address: str, recorder: Recorder, attempts: int = 15) -> tasks_pb2.Task:
    with Gateway(Target(address), KEY) as gateway:
        return follow(gateway, TASK, recorder, patience=Patience(attempts), sleep=lambda seconds: None)


def test_events_come_in_order_until_the_end(address: str) -> None:
    recorder = Recorder()

    task = _follow(address, recorder)

    assert recorder.sequences == [1, 2, 3, 4]
    assert task.state == tasks_pb2.TASK_STATE_SUCCEEDED


def test_after_a_break_the_watch_goes_on_behind_the_last_event(address: str, script: Script) -> None:
    script.breaks_after = [2, 0, 1]
    recorder = Recorder()

    _follow(address, recorder)

    after = [request.after_sequence for request in script.requests("WatchTask")]  # type: ignore[attr-defined]
    assert recorder.sequences == [1, 2, 3, 4]
    assert after == [0, 2, 2, 3]
    assert recorder.lost == [1, 2, 1]


def test_after_a_tick_the_watch_goes_on_behind_the_last_event(address: str, script: Script) -> None:
    script.ticks, script.breaks_after = True, [2]
    recorder = Recorder()

    _follow(address, recorder)

    after = [request.after_sequence for request in script.requests("WatchTask")]  # type: ignore[attr-defined]
    assert [number for number in recorder.sequences if number] == [1, 2, 3, 4]
    assert 0 in recorder.sequences
    assert after == [0, 2]


def test_a_stream_that_ends_early_is_opened_again(address: str, script: Script) -> None:
    script.failures["WatchTask"] = [Unavailable("restarting")]
    recorder = Recorder()

    _follow(address, recorder)

    assert recorder.sequences == [1, 2, 3, 4]


def test_a_gateway_that_stays_away_is_given_up(address: str, script: Script) -> None:
    script.breaks_after = [0] * 20

    with pytest.raises(grpc.RpcError) as caught:
        _follow(address, Recorder(), attempts=3)

    assert status_of(caught.value) is grpc.StatusCode.UNAVAILABLE
    assert len(script.requests("WatchTask")) == 3


def test_a_revoked_key_ends_the_watch(address: str, script: Script) -> None:
    script.failures["WatchTask"] = [Unauthenticated("The API key is not valid.")]

    with pytest.raises(grpc.RpcError) as caught:
        _follow(address, Recorder())

    assert status_of(caught.value) is grpc.StatusCode.UNAUTHENTICATED
