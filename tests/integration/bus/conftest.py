"""Workers as processes of their own, which tests end by signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import RpcError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from morningai.rpc.channel import make_channel
from tests.conftest import PASSWORD, TestDatabase, eventually

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Worker:
    """One replica of tests/integration/bus/worker.py."""

    name: str
    address: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def health(self) -> str:
        """SERVING, NOT_SERVING, or the reason why there is no answer."""
        async with make_channel(self.address) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            except RpcError as error:
                return str(error.code().name)  # type: ignore[attr-defined]  # an RpcError of a call is also the call
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@dataclass(frozen=True)
class Workers:
    """All replicas that a test started, and what they say."""

    folder: Path
    environment: dict[str, str]
    started: list[Worker]

    def launch(self, name: str, **settings: str) -> Worker:
        address = f"unix:{self.folder}/{name}.sock"
        own = {"MORNINGAI_REPLICA": name, "MORNINGAI_GRPC_ADDRESS": address}
        worker = Worker(name, address, self._launch(name, own | settings))
        self.started.append(worker)
        return worker

    async def start(self, name: str, **settings: str) -> Worker:
        worker = self.launch(name, **settings)
        for _ in range(600):
            if await worker.health() == "SERVING":
                return worker
            assert worker.process.poll() is None, self.log(name)
            await asyncio.sleep(0.05)
        raise AssertionError(self.log(name))

    def _launch(self, name: str, settings: dict[str, str]) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "tests.integration.bus.worker")
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, env=self.environment | settings, stdout=log, stderr=log, cwd=REPOSITORY)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def said(self) -> list[str]:
        file = self.folder / "said"
        return file.read_text().splitlines() if file.exists() else []

    async def hears(self, words: str) -> str:
        """What else was said in the first line that begins with these words."""

        def found() -> list[str]:
            return [line.removeprefix(words).strip() for line in self.said() if line.startswith(words)]

        await eventually(found)
        return found()[0]

    def named(self, name: str) -> Worker:
        return next(worker for worker in self.started if worker.name == name)


@pytest.fixture
def workers(database: TestDatabase, nats_url: str, tmp_path: Path) -> Iterator[Workers]:
    folder = tmp_path / "workers"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MORNINGAI_", "OTEL_"))}
    environment |= {
        "MORNINGAI_DATABASE_DSN": database.dsn("codegen_app"),
        "MORNINGAI_RELAY_DSN": database.dsn("codegen_relay"),
        "MORNINGAI_NATS_URL": nats_url,
        "MORNINGAI_NATS_USER": "codegen",
        "MORNINGAI_NATS_PASSWORD": PASSWORD,
        "MORNINGAI_WORK_DIR": str(folder),
        "MORNINGAI_ALLOW_PLAINTEXT": os.environ.get("MORNINGAI_ALLOW_PLAINTEXT", "false"),
    }
    workers = Workers(folder, environment, [])
    yield workers
    for worker in workers.started:
        worker.process.send_signal(signal.SIGCONT)
        worker.kill()
