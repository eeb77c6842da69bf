from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from morningai.embedded.leftover import ChildRecord, end_leftover, end_leftovers
from morningai.embedded.process import ChildProcess, Command
from morningai.errors import Unavailable

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
PARENT = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print(child.pid, flush=True); time.sleep(60)"
)

MakeChild = Callable[..., ChildProcess]


@pytest.fixture
async def make_child(tmp_path: Path) -> AsyncIterator[MakeChild]:
    async with AsyncExitStack() as stack:

        def make(code: str, *, grace_seconds: float = 5.0) -> ChildProcess:
            child = ChildProcess(
                "docs",
                Command((sys.executable, "-c", code), grace_seconds=grace_seconds),
                log_path=tmp_path / "logs" / "docs.log",
                record_path=tmp_path / "run" / "docs.child.json",
            )
            stack.push_async_callback(child.stop)
            return child

        yield make


async def first_line(child: ChildProcess) -> str:
    async with asyncio.timeout(10):
        while not child.log_tail():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return child.log_tail()[0]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def ended(pid: int) -> bool:
    async with asyncio.timeout(5):
        while is_alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


def leave_behind() -> tuple[subprocess.Popen[str], int, ChildRecord]:
    """A process and one it started, past the launcher, as on a system where the kernel does not end them."""
    left = subprocess.Popen([sys.executable, "-c", PARENT], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert left.stdout
    grandchild = int(left.stdout.readline())
    left.stdout.close()
    record = ChildRecord.of_running(left.pid)
    assert record
    return left, grandchild, record


async def test_an_end_is_told_with_the_last_lines_of_this_start(make_child: MakeChild) -> None:
    earlier = make_child("print('earlier')")
    await earlier.start()
    await earlier.wait()
    child = make_child("import sys; print('no box'); sys.exit(7)")
    await child.start()
    assert await child.wait() == f"ended with exit code 7; the end of {child.log_path}:\nno box"


async def test_a_child_is_asked_to_end_and_its_record_goes_with_it(make_child: MakeChild) -> None:
    child = make_child("import time; print('up', flush=True); time.sleep(60)")
    await child.start()
    await first_line(child)
    assert child.record_path.exists()
    await child.stop()
    assert child.exit_code == -15
    assert not child.record_path.exists()


async def test_a_child_that_does_not_listen_is_killed_after_its_grace(make_child: MakeChild) -> None:
    child = make_child(STUBBORN, grace_seconds=0.1)
    await child.start()
    await first_line(child)
    await child.stop()
    assert child.exit_code == -9


async def test_what_a_child_started_ends_with_it(make_child: MakeChild) -> None:
    child = make_child(PARENT)
    await child.start()
    grandchild = int(await first_line(child))
    await child.stop()
    assert await ended(grandchild)


async def test_what_a_child_started_ends_when_the_child_crashes(make_child: MakeChild) -> None:
    child = make_child(PARENT)
    await child.start()
    grandchild = int(await first_line(child))
    assert child.pid
    psutil.Process(child.pid).kill()
    await child.wait()
    assert await ended(grandchild)


async def test_a_child_can_be_started_again(make_child: MakeChild) -> None:
    child = make_child("import time; time.sleep(60)")
    await child.start()
    first = child.pid
    assert first
    psutil.Process(first).kill()
    await child.wait()
    await child.start()
    assert child.running
    assert child.pid != first


@pytest.mark.skipif(sys.platform.startswith("linux"), reason="on Linux the launcher starts and tells it in the log")
async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = Command(("/nonexistent/program",))
    child = ChildProcess("docs", command, log_path=tmp_path / "log", record_path=tmp_path / "record")
    with pytest.raises(Unavailable, match="/nonexistent/program"):
        await child.start()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere it is not started at all")
async def test_a_program_that_is_not_there_is_named_in_the_log(tmp_path: Path) -> None:
    command = Command(("/nonexistent/program",))
    child = ChildProcess("docs", command, log_path=tmp_path / "log", record_path=tmp_path / "record")
    await child.start()
    assert "/nonexistent/program: [Errno 2]" in await child.wait()


async def test_a_child_of_a_supervisor_that_is_gone_is_ended_with_its_group(tmp_path: Path) -> None:
    left, grandchild, record = leave_behind()
    record.write(tmp_path / "run" / "docs.child.json")
    assert await end_leftovers(tmp_path) == ["docs"]
    assert left.wait(5) == -15
    assert await ended(grandchild)


async def test_the_rest_of_a_group_is_ended_when_its_leader_has_gone(tmp_path: Path) -> None:
    left, grandchild, record = leave_behind()
    record.write(tmp_path / "docs.child.json")
    left.kill()
    left.wait(5)
    assert is_alive(grandchild)
    assert await end_leftover(tmp_path / "docs.child.json")
    assert await ended(grandchild)
