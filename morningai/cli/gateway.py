"""The connection to a gateway: a key and a deadline on every call, bounded retries where a repetition is harmless."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own words about a lost connection would be among ours

import grpc

from morningai.api.answers.v1 import answers_pb2_grpc
from morningai.api.changes.v1 import changes_pb2_grpc
from morningai.api.documents.v1 import documents_pb2_grpc
from morningai.api.faqs.v1 import faqs_pb2_grpc
from morningai.api.schedules.v1 import schedules_pb2_grpc
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.api.subscriptions.v1 import subscriptions_pb2 as subscriptions
from morningai.api.subscriptions.v1 import subscriptions_pb2_grpc
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.api.tenants.v1 import (
    audit_pb2_grpc,
    dead_letters_pb2_grpc,
    keys_pb2_grpc,
    members_pb2_grpc,
    models_pb2_grpc,
    policies_pb2_grpc,
    tenants_pb2_grpc,
    usage_pb2_grpc,
)
from morningai.cli.connection import Target

Q = TypeVar("Q")
R = TypeVar("R")

CALL_DEADLINE_SECONDS = 30.0
# Less than the five minutes for which a key is exchanged.
TRANSFER_DEADLINE_SECONDS = 280.0
WATCH_DEADLINE_SECONDS = 300.0
"""A watch is opened again after this long, so that a connection that died silently is noticed."""
RETRY_DELAYS_SECONDS = (0.2, 0.5, 1.0)
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


class Gateway:
    """Use as a context manager. Calls raise grpc.RpcError."""

    def __init__(
        self, target: Target, key: str, *, tenant: str = "", sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`tenant` is the slug that a member of several tenants names."""
        self._channel = _open(target)
        named = (("morningai-tenant", tenant),) if tenant else ()
        self._metadata = (("authorization", f"Bearer {key}"), *named)
        self._sleep = sleep
        self.tasks = tasks_pb2_grpc.TaskServiceStub(self._channel)
        self.schedules = schedules_pb2_grpc.ScheduleServiceStub(self._channel)
        self.sources = sources_pb2_grpc.SourceServiceStub(self._channel)
        self.answers = answers_pb2_grpc.AnswerServiceStub(self._channel)
        self.faqs = faqs_pb2_grpc.FaqServiceStub(self._channel)
        self.documents = documents_pb2_grpc.DocumentServiceStub(self._channel)
        self.changes = changes_pb2_grpc.ChangeServiceStub(self._channel)
        self.subscriptions = subscriptions_pb2_grpc.SubscriptionServiceStub(self._channel)
        self.tenants = tenants_pb2_grpc.TenantServiceStub(self._channel)
        self.keys = keys_pb2_grpc.ApiKeyServiceStub(self._channel)
        self.members = members_pb2_grpc.MemberServiceStub(self._channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self.dead_letters = dead_letters_pb2_grpc.DeadLetterServiceStub(self._channel)
        self.model_endpoints = models_pb2_grpc.ModelEndpointServiceStub(self._channel)
        self.policies = policies_pb2_grpc.PolicyServiceStub(self._channel)
        self.usage = usage_pb2_grpc.UsageServiceStub(self._channel)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(self, method: grpc.UnaryUnaryMultiCallable[Q, R], request: Q, *, repeatable: bool = True) -> R:
        """`repeatable` false for a creation whose request carries no request_id."""

        def once() -> R:
            return method(request, timeout=CALL_DEADLINE_SECONDS, metadata=self._metadata)

        return self._with_retries(once) if repeatable else once()

    def upload(self, parts: Callable[[], Iterator[sources.UploadSourceRequest]]) -> sources.Source:
        """`parts` begins anew for each try: a repeated upload replaces the content by the same content."""

        def once() -> sources.Source:
            return self.sources.UploadSource(parts(), timeout=TRANSFER_DEADLINE_SECONDS, metadata=self._metadata)

        return self._with_retries(once)

    def stream(self, method: grpc.UnaryStreamMultiCallable[Q, R], request: Q) -> Iterator[R]:
        """A stream that ends by itself, from its beginning; not repeated when it breaks."""
        return iter(method(request, timeout=TRANSFER_DEADLINE_SECONDS, metadata=self._metadata))

    def watch(self, task: str, *, after: int, progress: bool = False) -> Iterator[tasks.TaskEvent]:
        """One stream of events; it may end or break before the task does."""
        request = tasks.WatchTaskRequest(name=task, after_sequence=after, progress=progress)
        stream = self.tasks.WatchTask(request, timeout=WATCH_DEADLINE_SECONDS, metadata=self._metadata)
        try:
            yield from stream
        finally:
            stream.cancel()  # type: ignore[no-untyped-call]

    def watch_events(self, request: subscriptions.WatchEventsRequest) -> Iterator[subscriptions.WatchEventsResponse]:
        """One stream; it may break at any time."""
        stream = self.subscriptions.WatchEvents(request, timeout=WATCH_DEADLINE_SECONDS, metadata=self._metadata)
        try:
            yield from stream
        finally:
            stream.cancel()  # type: ignore[no-untyped-call]

    def _with_retries(self, once: Callable[[], R]) -> R:
        for delay in RETRY_DELAYS_SECONDS:
            try:
                return once()
            except grpc.RpcError as error:
                if status_of(error) is not grpc.StatusCode.UNAVAILABLE:
                    raise
            self._sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        return once()


def status_of(error: grpc.RpcError) -> grpc.StatusCode:
    assert isinstance(error, grpc.Call)  # every failed call of a stub is both
    return error.code()


def _open(target: Target) -> grpc.Channel:
    options = (*CHANNEL_OPTIONS, *((("grpc.enable_http_proxy", 0),) if target.loopback else ()))
    if target.tls:
        return grpc.secure_channel(target.address, _credentials(target), options=options)
    return grpc.insecure_channel(target.address, options=options)


def _credentials(target: Target) -> grpc.ChannelCredentials:
    ca = target.ca_file.read_bytes() if target.ca_file else None
    # One file holds both; each reader takes its own part.
    own = target.certificate_file.read_bytes() if target.certificate_file else None
    return grpc.ssl_channel_credentials(ca, own, own)
