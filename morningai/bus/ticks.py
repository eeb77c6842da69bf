"""Tells the gateways over core NATS how far running work is. A tick may be lost; the next one says more.

The tenant is in the subject: it is the one whose seal the work runs under, and a gateway shows a tick to nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.attempt import Work
from morningai.bus.catalogue import GENERATORS
from morningai.bus.subjects import ANY_TENANT, progress_subject

TYPE = "step.progressed"
STEPS = {
    "IndexSource": "index",
    "GenerateAnswer": "answer",
    "GenerateFaq": "faq",
    "GenerateDocument": "document",
    "GenerateChange": "change",
    "DeliverChange": "deliver",
}

OnTick = Callable[[UUID, UUID, api.TaskEvent], None]


async def send_tick(client: Client, service: str, work: Work) -> None:
    """Nothing for work that has not said anything."""
    step = STEPS.get(work.envelope.type.short_name)
    if not (step and work.detail and client.is_connected):
        return
    progress = api.StepProgress(percent=round(100 * min(max(work.fraction, 0.0), 1.0)), stage=work.detail)
    running = api.Step(step=step, service=service, state=api.STEP_STATE_RUNNING, progress=progress)
    tick = api.TaskEvent(task=f"tasks/{work.task_id}", type=TYPE, task_state=api.TASK_STATE_RUNNING, step=running)
    with suppress(nats.errors.Error):
        await client.publish(progress_subject(service, work.envelope.tenant_id), tick.SerializeToString())


async def hear_ticks(client: Client, on_tick: OnTick) -> None:
    """Calls back with the tenant, the task and its tick."""

    async def heard(message: Msg) -> None:
        with suppress(DecodeError, ValueError):
            tick = api.TaskEvent.FromString(message.data)
            tick.time.GetCurrentTime()
            on_tick(UUID(message.subject.rpartition(".")[2]), UUID(tick.task.removeprefix("tasks/")), tick)

    for service in GENERATORS:
        await client.subscribe(progress_subject(service, ANY_TENANT), cb=heard)
