"""`up` as a whole, in a process of its own: real PostgreSQL and NATS, stand-ins for the services."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from morningai.embedded.leftover import ChildRecord

RUN_UP = Path(__file__).with_name("run_up.py")
SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Folder:
    """A data folder and a port, to start `up` on as often as the test likes."""

    data_dir: Path
    port: int
    stack: ExitStack

    def up(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(RUN_UP), str(self.data_dir), str(self.port), *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.stack.callback(end, process)
        return process

    def children(self) -> dict[str, int]:
        paths = [*self.data_dir.glob("*/*.child.json")]
        records = {path.name.removesuffix(".child.json"): ChildRecord.read(path) for path in paths}
        return {name: record.pid for name, record in records.items() if record}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with ExitStack() as stack:
        yield Folder(tmp_path / "d", free_port(), stack)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Folder, subprocess.Popen[str]]]:
    """One that is up, for tests that leave it so."""
    with ExitStack() as stack:
        folder = Folder(tmp_path_factory.mktemp("live"), free_port(), stack)
        process = folder.up()
        next_line(process)
        yield folder, process


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=TIMEOUT_SECONDS)


def next_line(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    content = json.loads(line)
    assert isinstance(content, dict)
    return content


def alive(pids: dict[str, int]) -> list[str]:
    return [
        name
        for name, pid in pids.items()
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_ctrl_c_ends_every_child_and_the_exit_code_is_0(folder: Folder) -> None:
    process = folder.up()
    ready = next_line(process)
    assert (ready["event"], ready["gateway"]) == ("ready", f"127.0.0.1:{folder.port}")
    pids = folder.children()
    assert set(alive(pids)) == {"postgres", "nats", *SERVICES}
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_SECONDS) == 0
    assert alive(pids) == []
    assert not (folder.data_dir / "run" / "services.json").exists()


def test_where_it_runs_is_in_a_file_for_other_commands(live: tuple[Folder, subprocess.Popen[str]]) -> None:
    folder, process = live
    state = json.loads((folder.data_dir / "run" / "services.json").read_text())
    assert (state["pid"], state["gateway"]) == (process.pid, f"127.0.0.1:{folder.port}")
    assert set(state["parts"]) == {"postgres", "migrate", "nats", *SERVICES}


def test_a_second_up_on_a_live_folder_names_the_first_and_exits_3(live: tuple[Folder, subprocess.Popen[str]]) -> None:
    folder, first = live
    second = folder.up()
    told = next_line(second)
    assert (told["event"], told["pid"]) == ("live", first.pid)
    assert str(first.pid) in str(told["message"])
    assert second.wait(TIMEOUT_SECONDS) == 3
    assert len(alive(folder.children())) == 8


@pytest.mark.parametrize("name", ["docs", "nats", "postgres"])
def test_a_part_that_is_killed_comes_back_alone(live: tuple[Folder, subprocess.Popen[str]], name: str) -> None:
    folder, _ = live
    before = folder.children()
    os.kill(before[name], signal.SIGKILL)
    assert eventually(lambda: folder.children().get(name, before[name]) != before[name])
    after = folder.children()
    assert {other for other in before if before[other] != after[other]} == {name}


def test_after_kill_9_of_the_supervisor_nothing_is_left_and_up_works_again(folder: Folder) -> None:
    first = folder.up()
    next_line(first)
    pids = folder.children()
    first.kill()
    first.wait()
    second = folder.up()
    assert next_line(second)["event"] == "ready"
    assert alive(pids) == []
    assert len(alive(folder.children())) == 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the next start ends them")
def test_on_linux_the_children_of_a_killed_supervisor_end_by_themselves(folder: Folder) -> None:
    process = folder.up()
    next_line(process)
    pids = folder.children()
    process.kill()
    process.wait()
    assert eventually(lambda: alive(pids) == [])


def test_a_service_that_cannot_start_is_told_with_its_last_lines(folder: Folder) -> None:
    process = folder.up("--broken", "docs")
    failed = next_line(process)
    assert (failed["event"], failed["part"]) == ("failed", "docs")
    assert "ended with exit code 7" in str(failed["message"])
    assert "cannot find the flux capacitor" in str(failed["message"])
    assert process.wait(TIMEOUT_SECONDS) == 1
    assert folder.children() == {}


def test_a_port_that_is_taken_is_told_before_anything_starts(folder: Folder) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", folder.port))
        other.listen()
        process = folder.up()
        failed = next_line(process)
    assert failed["message"] == f"port: 127.0.0.1:{folder.port} cannot be used: Address already in use."
    assert "--port" in str(failed["remedy"])
    assert process.wait(TIMEOUT_SECONDS) == 1
    assert folder.children() == {}


def test_a_stop_during_the_first_start_leaves_nothing_behind(folder: Folder) -> None:
    process = folder.up()
    assert eventually(lambda: bool(folder.children()))
    pids = folder.children()
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_SECONDS) == 0
    assert alive(pids) == []
    assert folder.children() == {}


def test_a_person_reads_where_it_runs_and_how_to_go_on(folder: Folder) -> None:
    process = folder.up("--person")
    assert eventually(lambda: (folder.data_dir / "run" / "services.json").exists())
    process.terminate()
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert f"127.0.0.1:{folder.port}" in output
    assert str(folder.data_dir / "operator.key") in output
    assert "morningai tenant create" in output
    assert errors == ""
