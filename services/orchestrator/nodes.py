"""The nodes of the task graph: each dispatches commands, waits, or ends the task.

All are coroutines: LangGraph runs anything else in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, cast
from uuid import UUID

from google.protobuf.message import Message
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.db.session import Session
from morningai.rpc.time import timestamp
from services.orchestrator import approval_rows, approvals, repository, task_events
from services.orchestrator.domain import (
    ApprovalKind,
    StepCommand,
    StepName,
    StepResult,
    StepState,
    Subject,
    Task,
    decide_end,
    delivery_subject,
    effects_of,
    may_deliver,
    may_publish,
    publishing_subject,
    reached_their_limit,
    spending_subject,
    trace_id_of,
)
from services.orchestrator.settings import Settings

FAQ_ITEMS = 8


class TaskGraphState(TypedDict):
    """What a checkpoint holds: plain data, artifacts by reference."""

    results: dict[str, StepResult]


class ReviewedState(TaskGraphState):
    """`asked` is the kind of approval that the task waits for, or waited for last; empty when it needs none."""

    asked: str


class EffectsState(ReviewedState):
    """`effects` are the steps that may be commanded once nothing is asked any more."""

    effects: list[str]


@dataclass(frozen=True)
class TaskContext:
    """What a run is given and no checkpoint keeps."""

    session: Session
    task: Task
    settings: Settings


async def dispatch_index(state: TaskGraphState, runtime: Runtime[TaskContext]) -> None:
    task = runtime.context.task
    command = events.IndexSource(source=task.source, commit=task.base_commit)
    await _dispatch(runtime.context, {StepName.INDEX: command})


async def await_index(state: TaskGraphState) -> TaskGraphState:
    return _with(state, interrupt("index"))


async def after_index(state: TaskGraphState) -> str:
    succeeded = state["results"][StepName.INDEX].get("state") == StepState.SUCCEEDED
    return "dispatch_generators" if succeeded else "finish"


async def dispatch_generators(state: TaskGraphState, runtime: Runtime[TaskContext]) -> None:
    await _dispatch(runtime.context, _generating(state, runtime.context.task))


def _generating(state: TaskGraphState, task: Task) -> dict[StepName, Message]:
    """The command of each generator that the task asks for."""
    snapshot = events.Snapshot(**state["results"][StepName.INDEX]["snapshot"])
    commands: dict[StepName, Message] = {
        StepName.ANSWER: events.GenerateAnswer(instruction=task.instruction, snapshot=snapshot),
        StepName.FAQ: events.GenerateFaq(instruction=task.instruction, snapshot=snapshot, item_count=FAQ_ITEMS),
        StepName.DOCUMENT: events.GenerateDocument(instruction=task.instruction, snapshot=snapshot),
        StepName.CHANGE: events.GenerateChange(
            instruction=task.instruction, snapshot=snapshot, hand_over=bool(task.branch)
        ),
    }
    return {kind: commands[kind] for kind in map(StepName, task.kinds)}


async def await_generators(state: TaskGraphState) -> TaskGraphState:
    return _with(state, interrupt("generators"))


async def review(state: TaskGraphState) -> str:
    """Publishing inside MorningAI needs no approval."""
    document = state["results"].get(StepName.DOCUMENT, {})
    return "dispatch_publish" if document.get("state") == StepState.SUCCEEDED else "finish"


async def review_against_policy(state: TaskGraphState, runtime: Runtime[TaskContext]) -> dict[str, str]:
    """Writes the request where the tenant's policy wants a person to decide, each kind once."""
    session, task, results = runtime.context.session, runtime.context.task, state["results"]
    limited = reached_their_limit(results, task.kinds)
    if not limited and not effects_of(results, task.branch):
        return {"asked": ""}
    policy = await approval_rows.get_policy(session)
    subject: Subject | None = None
    if limited and ApprovalKind.SPENDING not in results:
        tokens, money = await approval_rows.get_spending(session, task.task_id)
        subject = spending_subject(limited, policy, tokens=tokens, money=money)
    elif policy.publishing and may_publish(results) and ApprovalKind.PUBLISHING not in results:
        subject = publishing_subject(results[StepName.DOCUMENT])
    elif not policy.unapproved_delivery and may_deliver(results, task.branch) and ApprovalKind.DELIVERY not in results:
        snapshot = results[StepName.INDEX]["snapshot"]
        subject = delivery_subject(results[StepName.CHANGE], snapshot, task.branch)
    if subject is None:
        return {"asked": ""}
    await approvals.request_approval(session, task, subject, lifetime_seconds=policy.lifetime_seconds)
    return {"asked": subject.kind.value}


async def after_review(state: ReviewedState) -> str:
    if state["asked"]:
        return "await_approval"
    return "dispatch_publish" if may_publish(state["results"]) else "finish"


async def review_effects(state: TaskGraphState, runtime: Runtime[TaskContext]) -> dict[str, str | list[str]]:
    """By default, publishing inside MorningAI needs no approval, and pushing outside does."""
    asked = await review_against_policy(state, runtime)
    return {**asked, "effects": effects_of(state["results"], runtime.context.task.branch)}


async def after_effects_review(state: EffectsState) -> str:
    if state["asked"]:
        return "await_approval"
    return "dispatch_effects" if state["effects"] else "finish"


async def await_approval(state: ReviewedState) -> TaskGraphState:
    return _with(state, interrupt("approval"))


async def after_approval(state: ReviewedState) -> str:
    """More may be spent by whoever had reached the limit; everything else is reviewed again."""
    approved = state["results"][state["asked"]].get("state") == StepState.SUCCEEDED
    return "dispatch_again" if approved and state["asked"] == ApprovalKind.SPENDING else "review"


async def dispatch_again(state: TaskGraphState, runtime: Runtime[TaskContext]) -> None:
    """A change goes on with what was recorded of it: its model is not asked twice."""
    context = runtime.context
    commands = _generating(state, context.task)
    steps = await repository.list_steps(context.session, context.task.task_id)
    earlier = {step.step: str(step.command_id) for step in steps}
    change = commands.get(StepName.CHANGE)
    if isinstance(change, events.GenerateChange):
        change.resumed_command_id = earlier[StepName.CHANGE]
    limited = map(StepName, reached_their_limit(state["results"], context.task.kinds))
    await _dispatch_again(context, {kind: commands[kind] for kind in limited})


async def dispatch_publish(state: TaskGraphState, runtime: Runtime[TaskContext]) -> None:
    await _dispatch(runtime.context, {StepName.PUBLISH: _publishing(state)})


async def dispatch_effects(state: EffectsState, runtime: Runtime[TaskContext]) -> None:
    context = runtime.context
    effects = map(StepName, state["effects"])
    await _dispatch(context, {effect: _taking_effect(effect, state, context.task) for effect in effects})


def _taking_effect(effect: StepName, state: TaskGraphState, task: Task) -> Message:
    return _publishing(state) if effect == StepName.PUBLISH else _delivering(state, task)


def _publishing(state: TaskGraphState) -> Message:
    document = state["results"][StepName.DOCUMENT]
    return events.PublishDocument(
        document=document["result"], version=document["version"], content_hash=document["content_hash"]
    )


def _delivering(state: TaskGraphState, task: Task) -> Message:
    """Everything that the commit is made of, so that it is the same whenever it is made."""
    change, snapshot = state["results"][StepName.CHANGE], state["results"][StepName.INDEX]["snapshot"]
    return events.DeliverChange(
        change=change["result"],
        patch_hash=change["content_hash"],
        source=snapshot["source"],
        base_commit=snapshot["commit"],
        branch=task.branch,
        instruction=task.instruction,
        trace_id=trace_id_of(task.traceparent),
        create_time=timestamp(task.created_at),
    )


async def await_effects(state: TaskGraphState) -> TaskGraphState:
    return _with(state, interrupt("effects"))


async def await_publish(state: TaskGraphState) -> TaskGraphState:
    return _with(state, interrupt("publish"))


async def finish(state: TaskGraphState, runtime: Runtime[TaskContext]) -> None:
    context = runtime.context
    end = decide_end(state["results"], context.task.kinds, context.task.branch)
    number = await repository.end_task(context.session, context.task.task_id, end.state)
    await task_events.emit_end(context.session, context.task, end, number)


def _with(state: TaskGraphState, replies: object) -> TaskGraphState:
    return {"results": {**state["results"], **cast(dict[str, StepResult], replies)}}


async def _dispatch(context: TaskContext, messages: Mapping[StepName, Message]) -> None:
    commands = [_new_command(step) for step in messages]
    started = await repository.insert_steps(
        context.session,
        context.task.task_id,
        commands,
        deadline_seconds=context.settings.step_deadline_seconds,
    )
    for command, (step, number) in zip(commands, started, strict=True):
        await _emit_command(context, command, messages[command.step])
        await task_events.emit_step(context.session, context.task, step, number)


async def _dispatch_again(context: TaskContext, messages: Mapping[StepName, Message]) -> None:
    for command in map(_new_command, messages):
        step, number = await repository.restart_step(
            context.session,
            context.task.task_id,
            command,
            deadline_seconds=context.settings.step_deadline_seconds,
        )
        await _emit_command(context, command, messages[command.step])
        await task_events.emit_step(context.session, context.task, step, number)


def _new_command(step: StepName) -> StepCommand:
    return StepCommand(step, command_id=outbox.new_id(), timer_id=outbox.new_id())


async def _emit_command(context: TaskContext, command: StepCommand, message: Message) -> None:
    session, task = context.session, context.task
    await outbox.emit(session, message, task_id=task.task_id, to=command.service, message_id=command.command_id)
    await emit_timer(
        session,
        task,
        command_id=str(command.command_id),
        delay_seconds=context.settings.resend_seconds,
        timer_id=command.timer_id,
    )


async def emit_timer(
    session: Session, task: Task, *, command_id: str, delay_seconds: float, timer_id: UUID | None = None
) -> UUID:
    return await outbox.emit(
        session,
        events.StepTimedOut(command_id=command_id),
        task_id=task.task_id,
        to="orchestrator",
        delay_seconds=delay_seconds,
        message_id=timer_id,
    )
