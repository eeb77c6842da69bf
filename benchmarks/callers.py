"""Callers in processes of their own, so that a flood costs the measured tenant nothing on the client's side."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import grpc

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc

DEADLINE_SECONDS = 30.0


@dataclass(frozen=True)
class Caller:
    """Lists tasks at random moments (Poisson), whether or not the calls before have ended.

    Two steady rates would meet each other at every n-th call, or never.
    """

    address: str
    key: str
    calls_per_second: float
    seconds: float
    # Of its own process: a flood comes from other machines, and its own work is not what is measured.
    niceness: int = 0


@dataclass(frozen=True)
class Called:
    """How long each admitted call took (seconds), and how many ended with which code."""

    seconds: tuple[float, ...]
    codes: dict[str, int]


def start_callers() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    for ready in [pool.submit(time.sleep, 0.5) for _ in range(2)]:
        ready.result()
    return pool


def submit(pool: ProcessPoolExecutor, caller: Caller) -> Future[Called]:
    return pool.submit(run_caller, caller)


def run_caller(caller: Caller) -> Called:
    os.nice(caller.niceness - os.nice(0))
    return asyncio.run(_run(caller))


async def _run(caller: Caller) -> Called:
    metadata = (("authorization", f"Bearer {caller.key}"),)
    took: list[float] = []
    codes: Counter[str] = Counter()

    async def call(stub: tasks_pb2_grpc.TaskServiceAsyncStub) -> None:
        began = time.perf_counter()
        try:
            await stub.ListTasks(api.ListTasksRequest(page_size=20), metadata=metadata, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            codes[error.code().name] += 1
            return
        took.append(time.perf_counter() - began)
        codes["OK"] += 1

    async with grpc.aio.insecure_channel(caller.address) as channel, asyncio.TaskGroup() as calls:
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        due = time.perf_counter()
        for _ in range(int(caller.calls_per_second * caller.seconds)):
            due += random.expovariate(caller.calls_per_second)
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            calls.create_task(call(stub))  # type: ignore[arg-type]
    return Called(tuple(took), dict(codes))
