"""Tasks, their steps, and how the steps' results decide the task's end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import TypedDict
from uuid import UUID

LONGEST_RESEND_SECONDS = 600.0


class TaskState(StrEnum):
    """Admitted is a task that was queued and got a slot; clients see it queued until it starts."""

    QUEUED = "queued"
    ADMITTED = "admitted"
    RUNNING = "running"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    SUCCEEDED = "succeeded"
    PARTLY_SUCCEEDED = "partly_succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN = frozenset({TaskState.QUEUED, TaskState.ADMITTED, TaskState.RUNNING, TaskState.WAITING_FOR_APPROVAL})


class Priority(IntEnum):
    LOW = 1
    NORMAL = 2
    HIGH = 3


class StepState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepName(StrEnum):
    INDEX = "index"
    ANSWER = "answer"
    FAQ = "faq"
    DOCUMENT = "document"
    CHANGE = "change"
    PUBLISH = "publish"
    DELIVER = "deliver"


GENERATORS = (StepName.ANSWER, StepName.FAQ, StepName.DOCUMENT, StepName.CHANGE)
SERVICE_OF = {
    StepName.INDEX: "docs",
    StepName.ANSWER: "faqgen",
    StepName.FAQ: "faqgen",
    StepName.DOCUMENT: "docs",
    StepName.CHANGE: "codegen",
    StepName.PUBLISH: "docs",
    StepName.DELIVER: "docs",
}
# What takes effect outside the task itself; once one is commanded, the task is not cancelled any more.
EFFECTS = (StepName.PUBLISH, StepName.DELIVER)
WAVE_OF = {StepName.INDEX: "index", **dict.fromkeys(GENERATORS, "generators"), **dict.fromkeys(EFFECTS, "effects")}
# The states of a change that give a patch to use; the others fail the step with their name as the reason.
USABLE_CHANGES = frozenset({"verified", "verified_with_test_changes", "unverified_no_tests"})
# The only state of a change that is pushed anywhere.
DELIVERED_CHANGE = "verified"


COLLECTIONS = {"key": "apiKeys", "user": "members"}
# Why a generator ended without a result, where an approval would let it go on.
LIMIT_REACHED = "task_limit_reached"


class ApprovalKind(StrEnum):
    PUBLISHING = "publishing"
    SPENDING = "spending"
    DELIVERY = "delivery"


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class StepResult(TypedDict, total=False):
    """What a step ended with; plain data, because it is kept in checkpoints."""

    state: str
    result: str
    summary: str
    engine: str
    model: str
    reason: str
    message: str
    remedy: str
    snapshot: dict[str, str]
    version: int
    content_hash: str
    commit: str


@dataclass(frozen=True)
class Task:
    """`traceparent` is the request's, for what a later call causes; `start_id` is the held message that starts it;
    `branch` is where a verified change is pushed, empty for nowhere; `base_commit` is empty for the source's newest."""

    task_id: UUID
    instruction: str
    source: str
    kinds: tuple[str, ...]
    state: TaskState
    graph_version: int
    traceparent: str
    priority: Priority = Priority.NORMAL
    start_id: UUID | None = None
    branch: str = ""
    base_commit: str = ""
    created_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be cancelled still."""
        return self.state in OPEN


@dataclass(frozen=True)
class QueuePlace:
    """Where a task stands among its tenant's queued ones, and when it starts if they go on as lately."""

    position: int
    estimated_start: datetime | None


@dataclass(frozen=True)
class Step:
    step: StepName
    wave: str
    service: str
    state: StepState
    command_id: UUID
    timer_id: UUID
    started_at: datetime
    deadline: datetime
    ended_at: datetime | None = None
    result: StepResult = field(default_factory=StepResult)


@dataclass(frozen=True)
class StepCommand:
    """What a step waits for the reply of, and the timer that sends it again; neither need be written yet."""

    step: StepName
    command_id: UUID
    timer_id: UUID

    @property
    def service(self) -> str:
        return SERVICE_OF[self.step]


@dataclass(frozen=True)
class Number:
    """Of an event of a task, which come one by one, and when it happened."""

    sequence: int
    time: datetime


@dataclass(frozen=True)
class ApprovalPolicy:
    """What the tenant wants a person to agree to; a limit that is None does not exist."""

    publishing: bool
    tokens_per_task: int | None
    money_per_task: int | None
    self_approval: bool
    lifetime_seconds: int
    unapproved_delivery: bool


@dataclass(frozen=True)
class Subject:
    """What a request is about; the version under its hash is what takes effect."""

    kind: ApprovalKind
    summary: str
    why: str
    resource: str = ""
    version: int = 0
    content_hash: str = ""


@dataclass(frozen=True)
class Approval:
    """A task's request to a person. Principals are as proofs name them."""

    approval_id: UUID
    task_id: UUID
    subject: Subject
    state: ApprovalState
    requester: str
    assignee: str
    decider: str
    reason: str
    timer_id: UUID
    revision: int
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    settled_at: datetime | None

    @property
    def name(self) -> str:
        return f"approvals/{self.approval_id}"

    @property
    def etag(self) -> str:
        return str(self.revision)


@dataclass(frozen=True)
class End:
    """How a task ends; `cause` is the result of the step that failed it."""

    state: TaskState
    cause: StepResult


def decide_end(results: Mapping[str, StepResult], kinds: tuple[str, ...], branch: str = "") -> End:
    """Succeeded when every generator did, partly when some did; a failed generator discards no other's result."""
    if results.get(StepName.INDEX, {}).get("state") == StepState.FAILED:
        return End(TaskState.FAILED, results[StepName.INDEX])
    wanted = [_result_of(kind, results) for kind in kinds]
    wanted += [results[effect] for effect in EFFECTS if effect in results]
    wanted += [
        results[kind] for kind in (ApprovalKind.PUBLISHING, ApprovalKind.DELIVERY) if _was_refused(results, kind)
    ]
    wanted += filter(None, [why_not_deliverable(results)] if branch else [])
    failed = [result for result in wanted if result.get("state") != StepState.SUCCEEDED]
    if not failed:
        return End(TaskState.SUCCEEDED, StepResult())
    state = TaskState.FAILED if len(failed) == len(wanted) else TaskState.PARTLY_SUCCEEDED
    return End(state, failed[0])


def _result_of(kind: str, results: Mapping[str, StepResult]) -> StepResult:
    """Where more spending was refused, that is why."""
    result = results.get(kind, StepResult(state=StepState.FAILED))
    if result.get("reason") == LIMIT_REACHED and _was_refused(results, ApprovalKind.SPENDING):
        return results[ApprovalKind.SPENDING]
    return result


def reached_their_limit(results: Mapping[str, StepResult], kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The generators that could do more with an approval."""
    return tuple(kind for kind in kinds if results.get(kind, {}).get("reason") == LIMIT_REACHED)


def may_publish(results: Mapping[str, StepResult]) -> bool:
    """Whether there is a document to publish that nobody has refused."""
    written = results.get(StepName.DOCUMENT, {}).get("state") == StepState.SUCCEEDED
    return written and not _was_refused(results, ApprovalKind.PUBLISHING)


def may_deliver(results: Mapping[str, StepResult], branch: str) -> bool:
    """Whether there is a verified change to push that nobody has refused."""
    wanted = bool(branch) and results.get(StepName.CHANGE, {}).get("state") == StepState.SUCCEEDED
    return wanted and why_not_deliverable(results) is None and not _was_refused(results, ApprovalKind.DELIVERY)


def why_not_deliverable(results: Mapping[str, StepResult]) -> StepResult | None:
    """Why a change that was made stays in MorningAI, though it was to be pushed; None where nothing is in the way."""
    change = results.get(StepName.CHANGE, {})
    if change.get("state") != StepState.SUCCEEDED:
        return None
    if change["summary"] != DELIVERED_CHANGE:
        return StepResult(
            state=StepState.FAILED.value,
            reason="change_not_verified",
            message=f"{change['result']} is {change['summary']}, and only a verified change is pushed.",
            remedy="Look at its patch and apply it yourself, or ask again for a change that its tests can show.",
        )
    if not change.get("content_hash"):
        return StepResult(
            state=StepState.FAILED.value,
            reason="patch_too_large",
            message=f"The patch of {change['result']} is too large to be pushed.",
            remedy="Apply it yourself, or ask for a smaller change.",
        )
    return None


def effects_of(results: Mapping[str, StepResult], branch: str) -> list[str]:
    """What is done with the results, from a fixed list."""
    wanted = {StepName.PUBLISH: may_publish(results), StepName.DELIVER: may_deliver(results, branch)}
    return [effect.value for effect in EFFECTS if wanted[effect]]


def _was_refused(results: Mapping[str, StepResult], kind: ApprovalKind) -> bool:
    return results.get(kind, {}).get("state") == StepState.FAILED


def publishing_subject(document: StepResult) -> Subject:
    return Subject(
        ApprovalKind.PUBLISHING,
        summary=f"Publish {document['result']}, version {document['version']}.",
        why="The policy asks for an approval before a document is published.",
        resource=document["result"],
        version=document["version"],
        content_hash=document["content_hash"],
    )


def delivery_subject(change: StepResult, snapshot: Mapping[str, str], branch: str) -> Subject:
    place = f"{snapshot['repository']} as the branch {branch}, on top of {snapshot['commit'][:10]}"
    return Subject(
        ApprovalKind.DELIVERY,
        summary=f"Push {change['result']} ({change['summary']}) to {place}.",
        why="The policy asks for an approval before a change is pushed.",
        resource=change["result"],
        content_hash=change["content_hash"],
    )


def spending_subject(kinds: tuple[str, ...], policy: ApprovalPolicy, *, tokens: int, money: int) -> Subject:
    limits = [
        f"{policy.tokens_per_task:,} tokens" if policy.tokens_per_task is not None else "",
        f"{policy.money_per_task / 1_000_000:,.2f} of money" if policy.money_per_task is not None else "",
    ]
    return Subject(
        ApprovalKind.SPENDING,
        summary=f"Spend more on {', '.join(kinds)}: {tokens:,} tokens and {money / 1_000_000:,.2f} are spent.",
        why=f"The policy lets a task spend {' and '.join(filter(None, limits))} before it asks.",
    )


def trace_id_of(traceparent: str) -> str:
    """Of a W3C traceparent; empty where there is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def principal_name(principal: str) -> str:
    """`apiKeys/mk_…` of `key:mk_…`, `members/…` of `user:…`."""
    kind, _, identifier = principal.partition(":")
    return f"{COLLECTIONS[kind]}/{identifier}" if kind in COLLECTIONS else principal


def principal_of(name: str) -> str | None:
    """`key:mk_…` of `apiKeys/mk_…`, `user:…` of `members/…`; None of anything else."""
    collection, _, identifier = name.partition("/")
    kinds = {collection: kind for kind, collection in COLLECTIONS.items()}
    return f"{kinds[collection]}:{identifier}" if collection in kinds and identifier else None


def resend_delay_seconds(waited_seconds: float, *, first: float) -> float:
    """Doubles with the time a command has waited, so that a long queue is not filled with copies of its commands."""
    return min(max(first, waited_seconds), LONGEST_RESEND_SECONDS)
