"""A client that writes down every call it makes, and asks again with the same request id until it is answered."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast
from uuid import uuid4

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.api.tenants.v1 import policies_pb2 as policies
from morningai.api.tenants.v1 import policies_pb2_grpc
from tests.chaos.evidence import CALLS, TENANTS, Journal

A = TypeVar("A", bound=Message)

CALL_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
AGAIN_SECONDS = 0.2
# Nobody knows whether such a call took effect, or it did not: ask again.
REPEATED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
ENDS = frozenset({"SUCCEEDED", "PARTLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


def record_tenant(folder: Path, slug: str, tenant_id: str) -> None:
    journal = Journal(folder, TENANTS)
    journal.append({"slug": slug, "tenant_id": tenant_id})
    journal.close()


class RecordingClient:
    """One tenant's key in use; threads may share it. Use as a context manager."""

    def __init__(self, folder: Path, address: str, *, tenant: str, key: str) -> None:
        self.tenant = tenant
        self._journal = Journal(folder, CALLS)
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._tasks = tasks_pb2_grpc.TaskServiceStub(self._channel)
        self._policies = policies_pb2_grpc.PolicyServiceStub(self._channel)
        self._sources = sources_pb2_grpc.SourceServiceStub(self._channel)

    def __enter__(self) -> RecordingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._journal.close()

    def create_task(
        self,
        instruction: str,
        source: str,
        kinds: Iterable[str],
        *,
        request_id: str = "",
        delivery: api.Delivery | None = None,
        seconds: float = PATIENCE_SECONDS,
    ) -> str:
        """The task's name. Asks with one request id until it is accepted or refused for good; raises grpc.RpcError."""
        task = api.Task(
            instruction=instruction,
            source=source,
            kinds=[api.TaskKind.Value(f"TASK_KIND_{kind.upper()}") for kind in kinds],
            delivery=delivery,
        )
        request = api.CreateTaskRequest(task=task, request_id=request_id or str(uuid4()))
        return self.until_answered("CreateTask", self._tasks.CreateTask, request, seconds=seconds).name

    def get_task(self, name: str, *, seconds: float = PATIENCE_SECONDS) -> api.Task:
        return self.until_answered("GetTask", self._tasks.GetTask, api.GetTaskRequest(name=name), seconds=seconds)

    def cancel_task(self, name: str) -> str:
        """One try, which may come too late or too early; returns its outcome."""
        request = api.CancelTaskRequest(name=name)
        return self._outcome(lambda: self.once("CancelTask", self._tasks.CancelTask, request))

    def set_approval_policy(self, *, self_approval: bool, unapproved_delivery: bool) -> None:
        policy = policies.ApprovalPolicy(self_approval=self_approval, unapproved_delivery=unapproved_delivery)
        request = policies.SetApprovalPolicyRequest(approval_policy=policy)
        self.until_answered("SetApprovalPolicy", self._policies.SetApprovalPolicy, request)

    def open_approvals(self, task: str) -> list[str]:
        """The names of what the task waits for."""
        request = approvals.ListApprovalsRequest(task=task, state=approvals.APPROVAL_STATE_PENDING)
        found = self.until_answered("ListApprovals", self._tasks.ListApprovals, request)
        return [approval.name for approval in found.approvals]

    def approve(self, approval: str) -> str:
        """Asks until it is decided or refused for good; returns the outcome."""
        request = approvals.ApproveTaskRequest(name=approval)
        return self._outcome(lambda: self.until_answered("ApproveTask", self._tasks.ApproveTask, request))

    def reject(self, approval: str) -> str:
        """As `approve`."""
        request = approvals.RejectTaskRequest(name=approval, reason="Not now.")
        return self._outcome(lambda: self.until_answered("RejectTask", self._tasks.RejectTask, request))

    def watch_task(self, name: str, *, after: int = 0, seconds: float = PATIENCE_SECONDS) -> Iterator[api.TaskEvent]:
        """One stream, written down as one call: what arrived of it until it ended, broke, or was left."""
        request = api.WatchTaskRequest(name=name, after_sequence=after)
        began, seen, outcome = time.time(), list[api.TaskEvent](), "ok"
        stream = self._tasks.WatchTask(request, timeout=seconds, metadata=self._metadata)
        try:
            for event in stream:
                seen.append(event)
                yield event
        except grpc.RpcError as error:
            outcome = outcome_of(error)
        finally:
            stream.cancel()
            told = api.Task(name=name, state=seen[-1].task_state) if seen else None
            events = [b64encode(event.SerializeToString()).decode() for event in seen]
            self._write("WatchTask", request, began, outcome, told, events=events)

    def upload(self, parts: Callable[[], Iterator[sources.UploadSourceRequest]]) -> sources.Source:
        """`parts` begins anew for each try."""

        def once() -> sources.Source:
            return self._sources.UploadSource(parts(), timeout=CALL_SECONDS, metadata=self._metadata)

        return self._repeated(
            lambda: self._recorded("UploadSource", sources.UploadSourceRequest(), once), PATIENCE_SECONDS
        )

    def until_answered(
        self, name: str, method: Callable[..., A], request: Message, *, seconds: float = PATIENCE_SECONDS
    ) -> A:
        """Any unary call, again and again while nobody answers it; raises grpc.RpcError."""
        return self._repeated(lambda: self.once(name, method, request), seconds)

    def once(self, name: str, method: Callable[..., A], request: Message) -> A:
        return self._recorded(name, request, lambda: method(request, timeout=CALL_SECONDS, metadata=self._metadata))

    def _outcome(self, call: Callable[[], object]) -> str:
        try:
            call()
        except grpc.RpcError as error:
            return outcome_of(error)
        return "ok"

    def _repeated(self, once: Callable[[], A], seconds: float) -> A:
        give_up = time.monotonic() + seconds
        while True:
            try:
                return once()
            except grpc.RpcError as error:
                if cast(grpc.Call, error).code() not in REPEATED or time.monotonic() > give_up:
                    raise
            time.sleep(AGAIN_SECONDS)

    def _recorded(self, name: str, request: Message, once: Callable[[], A]) -> A:
        began = time.time()
        try:
            answer = once()
        except grpc.RpcError as error:
            self._write(name, request, began, outcome_of(error), None)
            raise
        self._write(name, request, began, "ok", answer)
        return answer

    def _write(
        self, name: str, request: Message, began: float, outcome: str, answer: Message | None, **more: object
    ) -> None:
        self._journal.append(
            {
                "began": began,
                "ended": time.time(),
                "tenant": self.tenant,
                "method": name,
                "request_id": getattr(request, "request_id", "") or None,
                "request": MessageToDict(request),
                "outcome": outcome,
                "task": answer.name if isinstance(answer, api.Task) else _task_of(request),
                "state": _end_of(answer),
                **more,
            }
        )


def outcome_of(error: grpc.RpcError) -> str:
    return str(cast(grpc.Call, error).code().name)


def _task_of(request: Message) -> str | None:
    name = str(getattr(request, "name", ""))
    return name if name.startswith("tasks/") else None


def _end_of(answer: Message | None) -> str | None:
    if not isinstance(answer, api.Task):
        return None
    state = api.TaskState.Name(answer.state).removeprefix("TASK_STATE_")
    return state.lower() if state in ENDS else None
