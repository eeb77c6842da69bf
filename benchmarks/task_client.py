"""Clients of the gateway in a process of their own: each creates a task, watches it to its end, and goes on."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from uuid import uuid4

import grpc

from benchmarks.loop import Took, in_flight
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc

DEADLINE_SECONDS = 120.0
KINDS = (api.TASK_KIND_ANSWER, api.TASK_KIND_FAQ, api.TASK_KIND_CHANGE)
ENDED = frozenset(
    {
        api.TASK_STATE_SUCCEEDED,
        api.TASK_STATE_PARTLY_SUCCEEDED,
        api.TASK_STATE_FAILED,
        api.TASK_STATE_CANCELLED,
        api.TASK_STATE_EXPIRED,
    }
)


class TaskFailed(Exception):
    """A task ended in another way than it must."""


class Client:
    """A tenant on a connection of its own."""

    def __init__(self, address: str, key: str, source: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = tasks_pb2_grpc.TaskServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._task = api.Task(instruction="What is it?", source=source, kinds=KINDS)

    async def close(self) -> None:
        await self._channel.close()

    async def run_task(self) -> None:
        request = api.CreateTaskRequest(task=self._task, request_id=str(uuid4()))
        created = await self._stub.CreateTask(request, metadata=self._metadata, timeout=DEADLINE_SECONDS)
        watch = api.WatchTaskRequest(name=created.name)
        async for event in self._stub.WatchTask(watch, metadata=self._metadata, timeout=DEADLINE_SECONDS):
            if event.task_state in ENDED:
                if event.task_state != api.TASK_STATE_SUCCEEDED:
                    raise TaskFailed(f"{created.name}: {event}")
                return
        raise TaskFailed(f"{created.name}: its watch ended before it did")


async def run(address: str, keys: Sequence[str], source: str, *, at_a_time: int, seconds: float) -> Took:
    clients = [Client(address, key, source) for key in keys]
    try:
        return await in_flight([client.run_task for client in clients], at_a_time=at_a_time, seconds=seconds)
    finally:
        for client in clients:
            await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("source")
    parser.add_argument("at_a_time", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    keys = sys.stdin.read().split()
    began = time.process_time()
    took = asyncio.run(run(given.address, keys, given.source, at_a_time=given.at_a_time, seconds=given.seconds))
    json.dump(took.to_json() | {"cpu_seconds": time.process_time() - began}, sys.stdout)


if __name__ == "__main__":
    main()
