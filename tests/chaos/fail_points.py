"""A patch of a service's process: at each named point it looks whether it shall die there, and does.

The driver arms a point with a file that names it; whoever passes first takes the file away, so that one process dies
of it, and writes its line before it does.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from faststream.nats import NatsMessage

from morningai.bus import handling, relay, together, work
from morningai.llm import endpoint, tenant_budget
from tests.chaos.evidence import PATCHES, Journal

REPLICA = "MORNINGAI_CHAOS_REPLICA"
ARMED = "armed"


LOST_ACK = "ack.lost"


class Trap:
    """The points of one process."""

    def __init__(self, folder: Path, service: str) -> None:
        self._armed = folder / ARMED
        self._lines = Journal(folder, PATCHES)
        self._service = service

    def reached(self, point: str, task: object = None) -> None:
        if self._taken(point):
            self._write(point, killed=True, task=f"tasks/{task}" if task else None)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal may take a moment to arrive, and nothing more may happen

    def loses(self, point: str) -> bool:
        """Whether this one is lost; nobody dies of it."""
        taken = self._taken(point)
        if taken:
            self._write(point, killed=False, task=None)
        return taken

    def _taken(self, point: str) -> bool:
        try:
            (self._armed / f"{point}@{self._service}").unlink()
        except FileNotFoundError:
            return False
        return True

    def _write(self, point: str, *, killed: bool, task: str | None) -> None:
        line = {"time": time.time(), "service": os.environ.get(REPLICA, self._service), "pid": os.getpid()}
        self._lines.append(line | {"point": point, "killed": killed, "task": task})


def install(folder: Path, service: str) -> None:
    trap = Trap(folder, service)
    _in_relay(trap)
    _in_handlers(trap)
    _in_work(trap)
    _in_model_calls(trap)
    _in_acknowledgements(trap)
    if service == "gateway":
        _in_gateway(trap)
    if service == "codegen":
        _in_changes(trap)
    if service == "docs":
        _in_deliveries(trap)
    if service == "orchestrator":
        _in_approvals(trap)


def _around(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    """`before` is called with the arguments, `after` with the result and the arguments."""
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @functools.wraps(original)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if before:
            before(*arguments, **named)
        result = await original(*arguments, **named)
        if after:
            after(result, *arguments, **named)
        return result

    setattr(owner, name, wrapped)


def _in_relay(trap: Trap) -> None:
    def committed(_: relay.Relay, rows: list[dict[str, object]]) -> None:
        for row in rows:
            trap.reached("relay.committed", row["task_id"])

    def published(self: relay.Relay, _: object) -> None:
        for row, flight in self._flights.values():
            if flight.done() and not flight.exception():
                trap.reached("relay.published", row["task_id"])

    _around(relay.Relay, "_take_off", before=committed)
    _around(relay.Relay, "_land", before=published)


def _in_handlers(trap: Trap) -> None:
    def handled(_: None, __: object, envelopes: Any, *___: object, **____: object) -> None:
        trap.reached("handler.handled", envelopes[0].task_id)

    _around(handling, "receive_sealed", after=handled)
    together.receive_sealed = handling.receive_sealed
    original = together.Waiting.end

    def ended(waiting: together.Waiting, error: BaseException | None) -> None:
        if error is None:
            trap.reached("handler.committed", waiting.envelope.task_id)
        original(waiting, error)

    together.Waiting.end = ended  # type: ignore[method-assign]


def _in_work(trap: Trap) -> None:
    def claimed(found: work.Work | None, _: object, envelope: Any, __: object) -> None:
        if found:
            trap.reached("work.claimed", envelope.task_id)

    def acknowledged(_: object, found: work.Work, __: object, ___: object) -> None:
        trap.reached("work.acknowledged", found.task_id)

    def renewed(row: object, found: work.Work, _: object) -> None:
        if row:
            trap.reached("lease.renewed", found.task_id)

    _around(work, "_claim", after=claimed)
    _around(work, "_run", before=acknowledged)
    _around(work, "_renew", after=renewed)
    _around(work, "end_attempt", before=lambda found, *_, **__: trap.reached("work.done", found.task_id))
    _around(work, "end_attempt", after=lambda _, found, *__, **___: trap.reached("work.finished", found.task_id))


def _in_model_calls(trap: Trap) -> None:
    budget, reservation = tenant_budget.TenantBudget, tenant_budget.TenantReservation
    _around(budget, "reserve", after=lambda _, self, *__, **___: trap.reached("model.reserved", _task_of(self.proof)))
    _around(reservation, "mark_sent", after=lambda _, self: trap.reached("model.sent", _task_of(self.proof)))
    _around(reservation, "settle", before=lambda self, _: trap.reached("model.answered", _task_of(self.proof)))
    _around(endpoint.Endpoint, "_attempt", after=lambda _, __, ___, meter: settled(meter))

    def settled(meter: endpoint.Meter) -> None:
        if isinstance(meter.budget, tenant_budget.TenantBudget):
            trap.reached("model.settled", _task_of(meter.budget.proof))


def _in_acknowledgements(trap: Trap) -> None:
    original = NatsMessage.ack

    async def ack(self: NatsMessage) -> None:
        if not trap.loses(LOST_ACK):
            await original(self)

    NatsMessage.ack = ack  # type: ignore[method-assign]


def _in_gateway(trap: Trap) -> None:
    from services.gateway.grpc_api import tasks
    from services.gateway.sender import Sender

    def accepted(task: Any, *_: object) -> None:
        trap.reached("task.accepted", task.name.removeprefix("tasks/"))

    def claimed(_: object, claim: Any) -> None:
        trap.reached("webhook.claimed", _task_in(claim.body))

    def posted(_: object, claim: Any, outcome: Any) -> None:
        if outcome.succeeded:
            trap.reached("webhook.posted", _task_in(claim.body))

    servicer = next(value for name, value in vars(tasks).items() if name == "TaskServicer")
    _around(servicer, "CreateTask", after=lambda task, *_: accepted(task))
    _around(Sender, "_try", before=claimed)
    _around(Sender, "_finish", before=posted)


def _in_changes(trap: Trap) -> None:
    from services.codegen.repository import StepRecords

    _around(StepRecords, "put", after=lambda _, self, *__: trap.reached("change.recorded", _task_of(self._proof)))


def _in_deliveries(trap: Trap) -> None:
    from services.docs.sources import SourceStores

    def task(*arguments: Any) -> UUID | None:
        return _task_of(arguments[3])

    _around(SourceStores, "push", before=lambda *rest, **_: trap.reached("delivery.claimed", task(*rest)))
    _around(SourceStores, "push", after=lambda _, *rest, **__: trap.reached("delivery.pushed", task(*rest)))


def _in_approvals(trap: Trap) -> None:
    from services.orchestrator.grpc_api import TaskServicer

    def decided(approval: Any, *_: object) -> None:
        trap.reached("approval.decided", approval.task.removeprefix("tasks/"))

    _around(TaskServicer, "_decide", after=decided)


def _task_of(proof: str) -> UUID | None:
    """A seal's layout is in the kernel's migrations; what is not a seal names no task."""
    parts = proof.split("|")
    return UUID(parts[5]) if parts[1] == "s" else None


def _task_in(body: str) -> str | None:
    _, found, rest = body.partition('"tasks/')
    return rest.partition('"')[0] if found else None
