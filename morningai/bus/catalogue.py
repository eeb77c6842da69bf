"""The message catalogue: each message with its producers, its consumers and whether subscribers may see it.

Subscriptions, the permissions of each service on the bus and the data-flow page are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import subjects

Lane = Literal["work", "control", "requests", "replies", "tasks", "patches", "checks"]
GENERATORS = ("docs", "faqgen", "codegen")


@dataclass(frozen=True)
class MessageType:
    """One message; `consumers` maps each consuming service to the lane, a durable consumer, it arrives in."""

    body: type[Message]
    kind: Literal["event", "command"]
    context: str
    event: str
    producers: tuple[str, ...]
    consumers: Mapping[str, Lane]
    public: bool = False

    @property
    def name(self) -> str:
        return str(self.body.DESCRIPTOR.full_name)

    @property
    def short_name(self) -> str:
        return str(self.body.DESCRIPTOR.name)

    def filter_subject(self, service: str) -> str:
        """What `service` subscribes to for this message."""
        if self.kind == "event":
            return subjects.event_subject(subjects.ANY_TENANT, self.context, self.event)
        return subjects.command_subject(service, self.consumers[service])


@dataclass(frozen=True)
class Subscription:
    """One durable consumer of a service."""

    service: str
    lane: Lane
    stream: str
    filter_subjects: tuple[str, ...]
    types: tuple[MessageType, ...] = field(repr=False)

    @property
    def durable(self) -> str:
        return f"{self.service}-{self.lane}"


def _event(
    body: type[Message],
    subject: str,
    producers: tuple[str, ...],
    consumers: Mapping[str, Lane],
    *,
    public: bool = False,
) -> MessageType:
    context, _, event = subject.partition(".")
    return MessageType(body, "event", context, event, producers, consumers, public)


def _task_event(body: type[Message], subject: str) -> MessageType:
    return _event(body, subject, ("orchestrator",), {"gateway": "tasks"}, public=True)


def _command(body: type[Message], producers: tuple[str, ...], consumers: Mapping[str, Lane]) -> MessageType:
    words = re.findall("[A-Z][a-z]+", str(body.DESCRIPTOR.name))
    return MessageType(body, "command", "command", "_".join(words).lower(), producers, consumers)


CATALOGUE: tuple[MessageType, ...] = (
    _event(events.TaskRequested, "task.requested", ("gateway",), {"orchestrator": "requests"}),
    _event(events.TaskStarted, "task.started", ("orchestrator",), {"gateway": "tasks"}, public=True),
    _event(events.TaskStepChanged, "task.step_changed", ("orchestrator",), {"gateway": "tasks"}, public=True),
    _event(events.TaskSucceeded, "task.succeeded", ("orchestrator",), {"gateway": "tasks"}, public=True),
    _event(events.TaskPartlySucceeded, "task.partly_succeeded", ("orchestrator",), {"gateway": "tasks"}, public=True),
    _event(events.TaskFailed, "task.failed", ("orchestrator",), {"gateway": "tasks"}, public=True),
    _event(events.TaskCancelled, "task.cancelled", ("orchestrator",), {"gateway": "tasks"}, public=True),
    _task_event(events.TaskExpired, "task.expired"),
    _task_event(events.TaskWaitingForApproval, "task.waiting_for_approval"),
    _task_event(events.TaskApproved, "task.approved"),
    _task_event(events.TaskRejected, "task.rejected"),
    _task_event(events.TaskApprovalExpired, "task.approval_expired"),
    _task_event(events.TaskApprovalDelegated, "task.approval_delegated"),
    _event(events.SourceIndexed, "source.indexed", ("docs",), {"orchestrator": "replies"}, public=True),
    _event(events.SourceChecked, "source.checked", ("docs",), {"gateway": "tasks"}),
    _event(events.AnswerGenerated, "answer.generated", ("faqgen",), {"orchestrator": "replies"}, public=True),
    _event(events.FaqGenerated, "faq.generated", ("faqgen",), {"orchestrator": "replies"}, public=True),
    _event(events.DocumentGenerated, "document.generated", ("docs",), {"orchestrator": "replies"}),
    _event(events.DocumentPublished, "document.published", ("docs",), {"orchestrator": "replies"}, public=True),
    _event(events.ChangeGenerated, "change.generated", ("codegen",), {"orchestrator": "replies"}, public=True),
    _event(events.PatchVerified, "patch.verified", ("codegen",), {"docs": "patches"}),
    _event(events.ChangeDelivered, "change.delivered", ("docs",), {"orchestrator": "replies"}, public=True),
    _event(events.StepFailed, "step.failed", GENERATORS, {"orchestrator": "replies"}),
    _command(events.IndexSource, ("orchestrator", "docs"), {"docs": "work"}),
    _command(events.CheckSource, ("gateway", "docs"), {"docs": "checks"}),
    _command(events.GenerateDocument, ("orchestrator", "docs"), {"docs": "work"}),
    _command(events.GenerateAnswer, ("orchestrator", "faqgen"), {"faqgen": "work"}),
    _command(events.GenerateFaq, ("orchestrator", "faqgen"), {"faqgen": "work"}),
    _command(events.GenerateChange, ("orchestrator", "codegen"), {"codegen": "work"}),
    _command(events.PublishDocument, ("orchestrator",), {"docs": "control"}),
    _command(events.DeliverChange, ("orchestrator", "docs"), {"docs": "work"}),
    _command(events.CancelWork, ("orchestrator",), dict.fromkeys(GENERATORS, "control")),
    _command(events.CancelTask, ("tenancy",), {"orchestrator": "control"}),
    _command(events.StartTask, ("orchestrator",), {"orchestrator": "control"}),
    _command(events.ExpireTask, ("orchestrator",), {"orchestrator": "control"}),
    _command(events.StepTimedOut, ("orchestrator",), {"orchestrator": "control"}),
    _command(events.ApprovalDue, ("orchestrator",), {"orchestrator": "control"}),
    _command(events.ScheduleDue, ("gateway",), {"gateway": "control"}),
    _command(events.FireWaiting, ("gateway",), {"gateway": "control"}),
)
BY_NAME: Mapping[str, MessageType] = {message.name: message for message in CATALOGUE}


def message_type(body: type[Message]) -> MessageType:
    """The catalogue's entry; KeyError for a message that is not in it."""
    return BY_NAME[str(body.DESCRIPTOR.full_name)]


def subscriptions_of(service: str) -> tuple[Subscription, ...]:
    """The durable consumers of a service, one per lane."""
    lanes: dict[Lane, list[MessageType]] = {}
    for message in CATALOGUE:
        if service in message.consumers:
            lanes.setdefault(message.consumers[service], []).append(message)
    return tuple(_subscription(service, lane, tuple(messages)) for lane, messages in lanes.items())


def _subscription(service: str, lane: Lane, messages: tuple[MessageType, ...]) -> Subscription:
    stream = subjects.EVENTS_STREAM if messages[0].kind == "event" else subjects.COMMANDS_STREAM
    filters = tuple(dict.fromkeys(message.filter_subject(service) for message in messages))
    return Subscription(service, lane, stream, filters, messages)
