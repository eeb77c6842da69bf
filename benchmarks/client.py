"""A tenant that adds this repository and creates tasks over gRPC, timed from the request to the event that ends it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.cli.connection import Target
from morningai.cli.gateway import Gateway
from morningai.cli.repository import find_repository, upload_parts, write_bundle
from morningai.cli.wording import ENDED, task_state


@dataclass(frozen=True)
class Ended:
    """One task. `reason` says why it failed; `steps` are the seconds of each step, as the platform timed them."""

    state: str
    reason: str
    seconds: float
    steps: dict[str, float]
    summaries: dict[str, str]


def create_tenant(address: str, operator_key: str, slug: str) -> Gateway:
    """A gateway that speaks for a new tenant."""
    with Gateway(Target(address), operator_key) as operator:
        request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug))
        created = operator.call(operator.tenants.CreateTenant, request, repeatable=False)
    return Gateway(Target(address), created.api_key)


def upload(gateway: Gateway, source_id: str, folder: Path) -> float:
    """The seconds it took to upload the repository's HEAD with its history as a bundle."""
    repository = find_repository(folder)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "source.bundle"
        write_bundle(repository, bundle)
        began = time.monotonic()
        gateway.upload(lambda: upload_parts(source_id, repository, bundle))
        return time.monotonic() - began


def run_task(gateway: Gateway, source_id: str, instruction: str, *kinds: tasks.TaskKind.ValueType) -> Ended:
    task = tasks.Task(instruction=instruction, source=f"sources/{source_id}", kinds=kinds)
    began = time.monotonic()
    created = gateway.call(gateway.tasks.CreateTask, tasks.CreateTaskRequest(task=task, request_id=str(uuid4())))
    after = 0
    while True:
        for event in gateway.watch(created.name, after=after):
            after = event.sequence
            if event.task_state in ENDED:
                seconds = time.monotonic() - began
                return _ended(gateway.call(gateway.tasks.GetTask, tasks.GetTaskRequest(name=created.name)), seconds)


def _ended(task: tasks.Task, seconds: float) -> Ended:
    failures = [task.failure.reason, *(step.failure.reason for step in task.steps)]
    return Ended(
        state=task_state(task.state),
        reason=next(filter(None, failures), ""),
        seconds=seconds,
        steps={step.step: _seconds(step) for step in task.steps},
        summaries={step.step: step.summary for step in task.steps},
    )


def _seconds(step: tasks.Step) -> float:
    took = step.end_time.ToDatetime() - step.start_time.ToDatetime()
    return took.total_seconds()
