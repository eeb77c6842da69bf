"""The named fail points: where a process may die between one thing that lasts and the next, and in which services."""

from __future__ import annotations

from dataclasses import dataclass

SENDERS = ("gateway", "orchestrator", "docs", "faqgen", "codegen")
RECEIVERS = ("gateway", "orchestrator", "docs")
WORKERS = ("docs", "faqgen", "codegen")


@dataclass(frozen=True)
class Point:
    """`services` are those whose processes pass it."""

    name: str
    services: tuple[str, ...]


POINTS = (
    Point("task.accepted", ("gateway",)),  # the task is committed, its caller not answered
    Point("relay.committed", SENDERS),  # the row is committed, not published
    Point("relay.published", SENDERS),  # the bus has acknowledged, the row is not marked
    Point("handler.handled", RECEIVERS),  # everything is done, nothing committed
    Point("handler.committed", RECEIVERS),  # the effect is committed, the message not acknowledged
    Point("work.claimed", WORKERS),  # the claim is committed, the message not acknowledged
    Point("work.acknowledged", WORKERS),  # only the lease's timer knows of the work
    Point("lease.renewed", WORKERS),  # in the middle of the work
    Point("work.done", WORKERS),  # the result is there, nothing of it committed
    Point("work.finished", WORKERS),  # result and reply are committed, the slot not free
    Point("model.reserved", WORKERS),  # the call is reserved, not marked sent
    Point("model.sent", WORKERS),  # it is marked sent, and has not left
    Point("model.answered", WORKERS),  # the provider has answered, the call is not settled
    Point("model.settled", WORKERS),  # it is settled, the answer not recorded
    Point("change.recorded", ("codegen",)),  # a step of a change is recorded
    Point("delivery.claimed", ("docs",)),  # the commit is made, and nothing is pushed
    Point("delivery.pushed", ("docs",)),  # the remote has the branch, and no record says so
    Point("approval.decided", ("orchestrator",)),  # the decision is committed, whoever decided not answered
    Point("webhook.claimed", ("gateway",)),  # the delivery is claimed, not posted
    Point("webhook.posted", ("gateway",)),  # the receiver has it, the delivery is not marked
)
OF_DELIVERIES = ("delivery.", "approval.")
BY_NAME = {point.name: point for point in POINTS}
