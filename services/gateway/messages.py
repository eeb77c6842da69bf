"""Between the domain and protobuf: the one place of the gateway that knows both."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.catalogue import CATALOGUE, MessageType
from morningai.bus.envelope import Envelope
from morningai.errors import InvalidInput
from morningai.rpc.time import duration, timestamp
from services.gateway.domain.tasks import (
    Failure,
    NewEvent,
    NewTask,
    Step,
    Task,
    TaskChange,
    TaskKind,
    TaskPriority,
    TaskState,
    check_new_task,
)


def event_type_of(message_type: MessageType) -> str:
    """As subscribers know it, e.g. task.succeeded."""
    return f"{message_type.context}.{message_type.event}"


# What the gateway is told and may tell; the other public events are on the bus alone.
FEED_TYPES = frozenset(event_type_of(entry) for entry in CATALOGUE if entry.public and "gateway" in entry.consumers)


def webhook_body(event_type: str, event: api.TaskEvent) -> str:
    """What a webhook carries of a public event: its type, its time, and the event in proto3 JSON."""
    content = {"type": event_type, "timestamp": event.time.ToJsonString(), "data": MessageToDict(event)}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def new_event_of(envelope: Envelope, event: api.TaskEvent) -> NewEvent:
    return NewEvent(
        event_id=envelope.id,
        type=event_type_of(envelope.type),
        sequence=event.sequence,
        trace_id=event.trace_id,
        event=event.SerializeToString(deterministic=True),
    )


def new_task_of(request: api.CreateTaskRequest) -> NewTask:
    return check_new_task(
        request_id=request.request_id,
        instruction=request.task.instruction,
        source=request.task.source,
        kinds=tuple(_kind(kind) for kind in request.task.kinds),
        priority=_priority(request.task.priority),
        branch=request.task.delivery.branch if request.task.HasField("delivery") else None,
        ttl=duration(request.task.ttl, field="task.ttl") if request.task.HasField("ttl") else None,
    )


def change_of(event: api.TaskEvent) -> TaskChange:
    return TaskChange(
        sequence=event.sequence,
        time=event.time.ToDatetime(tzinfo=UTC),
        state=TaskState(api.TaskState.Name(event.task_state).removeprefix("TASK_STATE_").lower()),
        step=step_of(event.step) if event.HasField("step") else None,
        failure=failure_of(event.failure) if event.HasField("failure") else None,
    )


def step_of(message: api.Step) -> Step:
    return Step(
        step=message.step,
        service=message.service,
        state=api.StepState.Name(message.state).removeprefix("STEP_STATE_").lower(),
        start_time=_moment(message.start_time),
        end_time=_moment(message.end_time),
        result=message.result,
        summary=message.summary,
        engine=message.engine,
        model=message.model,
        failure=failure_of(message.failure) if message.HasField("failure") else None,
        commit=message.commit,
    )


def task_message(task: Task) -> api.Task:
    return api.Task(
        name=f"tasks/{task.task_id}",
        instruction=task.instruction,
        source=task.source,
        kinds=[api.TaskKind.Value(f"TASK_KIND_{kind.upper()}") for kind in task.kinds],
        state=api.TaskState.Value(f"TASK_STATE_{task.state.upper()}"),
        steps=[_step_message(step) for step in task.steps],
        failure=failure_message(task.failure),
        trace_id=task.trace_id,
        create_time=timestamp(task.created_at),
        update_time=timestamp(task.updated_at),
        end_time=timestamp(task.ended_at),
        priority=priority_value(task.priority),
        delivery=api.Delivery(branch=task.branch, commit=task.commit) if task.branch else None,
        base_commit=task.base_commit,
        expire_time=timestamp(task.expires_at),
    )


def failure_message(failure: Failure | None) -> api.Failure | None:
    if failure is None:
        return None
    return api.Failure(reason=failure.reason, message=failure.message, remedy=failure.remedy)


def kind_values(kinds: tuple[TaskKind, ...]) -> list[api.TaskKind.ValueType]:
    return [api.TaskKind.Value(f"TASK_KIND_{kind.upper()}") for kind in kinds]


def priority_value(priority: TaskPriority) -> api.TaskPriority.ValueType:
    return api.TaskPriority.Value(f"TASK_PRIORITY_{priority.upper()}")


def _step_message(step: Step) -> api.Step:
    return api.Step(
        step=step.step,
        service=step.service,
        state=api.StepState.Value(f"STEP_STATE_{step.state.upper()}"),
        start_time=timestamp(step.start_time),
        end_time=timestamp(step.end_time),
        result=step.result,
        summary=step.summary,
        engine=step.engine,
        model=step.model,
        failure=failure_message(step.failure),
        commit=step.commit,
    )


def _kind(kind: int) -> TaskKind:
    names = {api.TaskKind.Value(f"TASK_KIND_{name.upper()}"): name for name in TaskKind}
    if kind not in names:
        raise InvalidInput("task.kinds", f"{kind} is not a kind.", remedy="Use answer, faq, document or change.")
    return names[api.TaskKind.Value(api.TaskKind.Name(api.TaskKind.ValueType(kind)))]


def _priority(priority: int) -> TaskPriority:
    names = {priority_value(name): name for name in TaskPriority} | {0: TaskPriority.NORMAL}
    if priority not in names:
        raise InvalidInput("task.priority", f"{priority} is not a priority.", remedy="Use low, normal or high.")
    return names[api.TaskPriority.ValueType(priority)]


def failure_of(message: api.Failure) -> Failure:
    return Failure(message.reason, message.message, message.remedy)


def _moment(message: Timestamp) -> datetime | None:
    return message.ToDatetime(tzinfo=UTC) if message.seconds or message.nanos else None
