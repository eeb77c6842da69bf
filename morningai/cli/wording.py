"""Protobuf's values and names as people read and write them."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.answers.v1.answers_pb2 import Evidence, Provenance
from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.schedules.v1 import schedules_pb2 as schedules
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.subscriptions.v1 import subscriptions_pb2 as subscriptions
from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import dead_letters_pb2 as dead_letters
from morningai.api.tenants.v1 import members_pb2 as members
from morningai.api.tenants.v1 import tenants_pb2 as tenants

ENDED = frozenset(
    {
        tasks.TASK_STATE_SUCCEEDED,
        tasks.TASK_STATE_PARTLY_SUCCEEDED,
        tasks.TASK_STATE_FAILED,
        tasks.TASK_STATE_CANCELLED,
        tasks.TASK_STATE_EXPIRED,
    }
)
STYLES = {
    "running": "cyan",
    "waiting_for_approval": "bold yellow",
    "succeeded": "green",
    "partly_succeeded": "yellow",
    "failed": "red",
    "cancelled": "yellow",
    "expired": "red",
    "verified": "bold green",
    "verified_with_test_changes": "green",
}


def task_state(state: int) -> str:
    return _word(tasks.TaskState.DESCRIPTOR, state)


def approval_state(state: int) -> str:
    return _word(approvals.ApprovalState.DESCRIPTOR, state)


def step_state(state: int) -> str:
    return _word(tasks.StepState.DESCRIPTOR, state)


def task_kind(kind: int) -> str:
    return _word(tasks.TaskKind.DESCRIPTOR, kind)


def task_priority(priority: int) -> str:
    return _word(tasks.TaskPriority.DESCRIPTOR, priority)


def schedule_state(state: int) -> str:
    return _word(schedules.ScheduleState.DESCRIPTOR, state)


def trigger(schedule: schedules.Schedule) -> str:
    """What it fires on, in a few words."""
    if schedule.WhichOneof("trigger") == "commit":
        branch = schedule.commit.branch or "the default branch"
        return f"on commits of {branch}, looked at every {schedule.commit.poll_interval.seconds} s"
    return f"{schedule.cron.expression} · {schedule.cron.time_zone}"


def missed_policy(policy: int) -> str:
    return _word(schedules.MissedPolicy.DESCRIPTOR, policy)


def overlap_policy(policy: int) -> str:
    return _word(schedules.OverlapPolicy.DESCRIPTOR, policy)


def source_kind(kind: int) -> str:
    return _word(sources.SourceKind.DESCRIPTOR, kind)


def change_state(state: int) -> str:
    return _word(changes.ChangeState.DESCRIPTOR, state)


def audit_outcome(outcome: int) -> str:
    return _word(audit.AuditOutcome.DESCRIPTOR, outcome)


def dead_letter_state(state: int) -> str:
    return _word(dead_letters.DeadLetterState.DESCRIPTOR, state)


def member_role(role: int) -> str:
    return _word(members.MemberRole.DESCRIPTOR, role)


def tenant_state(state: int) -> str:
    return _word(tenants.TenantState.DESCRIPTOR, state)


def webhook_state(state: int) -> str:
    return _word(subscriptions.WebhookEndpointState.DESCRIPTOR, state)


def delivery_state(state: int) -> str:
    return _word(subscriptions.WebhookDeliveryState.DESCRIPTOR, state)


def _word(enum: EnumDescriptor, number: int) -> str:
    """`partly_succeeded` of TASK_STATE_PARTLY_SUCCEEDED; the number of a value that a newer platform sent."""
    value = enum.values_by_number.get(number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(value.name).removeprefix(prefix).lower() if value else str(number)


def resource_name(collection: str, given: str) -> str:
    """`tasks/x` of `x`; a full name stays."""
    return given if "/" in given else f"{collection}/{given}"


def citation(evidence: Evidence) -> str:
    return f"{evidence.path}:{evidence.start_line}-{evidence.end_line} @{evidence.commit[:7]}"


def provenance_line(provenance: Provenance) -> str:
    """Engine and model are always named; the extractive engine has no model."""
    model = provenance.model or "no model"
    where = f"{provenance.repository} @{provenance.commit[:7]}"
    return (
        f"engine {provenance.engine or 'unknown'} · {model} · {where} · {provenance.task} · trace {provenance.trace_id}"
    )


def moment(time: Timestamp) -> datetime:
    return time.ToDatetime(tzinfo=UTC)


def clock(time: Timestamp) -> str:
    """Local time to the second; empty for a time that was not set."""
    return moment(time).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time.seconds else ""


def seconds_between(start: Timestamp, end: Timestamp) -> float:
    return (moment(end) - moment(start)).total_seconds()


def money(micros: int) -> str:
    """Units of the operator's currency, to the last millionth that is not zero and two decimals at least."""
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole:,}.{f'{rest:06}'.rstrip('0').ljust(2, '0')}"
