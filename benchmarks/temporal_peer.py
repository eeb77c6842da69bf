"""Temporal's dev server on a file, a worker process, and workflows of three parallel activities that do nothing.

`python -m benchmarks.temporal_peer` measures; with an address behind it, it is the worker.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.peer import measure_peer

QUEUE = "benchmark"
KINDS = ("answer", "faq", "change")


@activity.defn
async def generate(kind: str) -> str:
    return kind


@workflow.defn
class Task:
    @workflow.run
    async def run(self) -> list[str]:
        started = (
            workflow.execute_activity(generate, kind, start_to_close_timeout=timedelta(seconds=60)) for kind in KINDS
        )
        return list(await asyncio.gather(*started))


async def work(address: str) -> None:
    worker = Worker(await _client(address), task_queue=QUEUE, workflows=[Task], activities=[generate])
    await worker.run()


async def _client(address: str) -> Client:
    for _ in range(200):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise TimeoutError(f"Temporal at {address} does not answer")


@contextmanager
def _processes(folder: Path, port: int) -> Iterator[str]:
    address = f"127.0.0.1:{port}"
    server = [str(Path(sys.executable).with_name("temporal")), "server", "start-dev", "--headless"]
    server += ["--port", str(port), "--db-filename", str(folder / "temporal.db"), "--log-level", "error"]
    commands = (server, [sys.executable, "-m", "benchmarks.temporal_peer", address])
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    try:
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="mb-") as folder, _processes(Path(folder), port) as address:
        asyncio.run(_measure(address))


async def _measure(address: str) -> None:
    client = await _client(address)

    async def run_workflow() -> None:
        await client.execute_workflow(Task.run, id=str(uuid4()), task_queue=QUEUE)

    await run_workflow()  # the worker is there
    await measure_peer(run_workflow)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        asyncio.run(work(sys.argv[1]))
    else:
        main()
