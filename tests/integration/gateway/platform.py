"""The public door as clients meet it.

Gateway, tenancy, orchestrator and docs are processes, faqgen answers through a fake, and codegen is away.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
from google.rpc.error_details_pb2 import ResourceInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from morningai.api.answers.v1 import answers_pb2, answers_pb2_grpc
from morningai.api.documents.v1 import documents_pb2_grpc
from morningai.api.schedules.v1 import schedules_pb2_grpc
from morningai.api.sources.v1 import sources_pb2, sources_pb2_grpc
from morningai.api.subscriptions.v1 import subscriptions_pb2_grpc
from morningai.api.tasks.v1 import tasks_pb2 as api
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
from morningai.rpc.status import field_violations
from morningai.secrets.key_ring import make_key
from tests.conftest import OPERATOR_KEY, PASSWORD
from tests.identity_provider import AUDIENCE, ISSUER, IdentityProvider, running_identity_provider

if TYPE_CHECKING:
    from tests.conftest import TestDatabase

PROCESSES = ("gateway", "tenancy", "orchestrator", "docs")
KEY_CACHE_SECONDS = 0.5
ANSWER = [api.TASK_KIND_ANSWER]
START_SECONDS = 90.0
NO_SETTINGS: Mapping[str, str] = {}
# The endpoints of tests are on this address of this machine.
WEBHOOKS = {"WEBHOOK_EGRESS_ALLOWED": "127.0.0.1", "WEBHOOK_RETRY_SECONDS": "[0.1, 0.1, 0.1]"}


@dataclass
class FakeAnswers(answers_pb2_grpc.AnswerServiceServicer):
    """AnswerService that remembers what the gateway passed on."""

    metadata: list[tuple[str, str]] = field(default_factory=list)
    seconds_left: float = 0.0

    def GetAnswer(self, request: answers_pb2.GetAnswerRequest, context: grpc.ServicerContext) -> answers_pb2.Answer:
        self.metadata = [(str(key), str(value)) for key, value in context.invocation_metadata()]
        self.seconds_left = context.time_remaining()
        return answers_pb2.Answer(name=request.name)


@dataclass(frozen=True)
class Client:
    """One caller and its stubs."""

    channel: grpc.aio.Channel

    @property
    def tasks(self) -> tasks_pb2_grpc.TaskServiceStub:
        return tasks_pb2_grpc.TaskServiceStub(self.channel)

    @property
    def schedules(self) -> schedules_pb2_grpc.ScheduleServiceStub:
        return schedules_pb2_grpc.ScheduleServiceStub(self.channel)

    @property
    def documents(self) -> documents_pb2_grpc.DocumentServiceStub:
        return documents_pb2_grpc.DocumentServiceStub(self.channel)

    @property
    def tenants(self) -> tenants_pb2_grpc.TenantServiceStub:
        return tenants_pb2_grpc.TenantServiceStub(self.channel)

    @property
    def keys(self) -> keys_pb2_grpc.ApiKeyServiceStub:
        return keys_pb2_grpc.ApiKeyServiceStub(self.channel)

    @property
    def members(self) -> members_pb2_grpc.MemberServiceStub:
        return members_pb2_grpc.MemberServiceStub(self.channel)

    @property
    def audit(self) -> audit_pb2_grpc.AuditServiceStub:
        return audit_pb2_grpc.AuditServiceStub(self.channel)

    @property
    def dead_letters(self) -> dead_letters_pb2_grpc.DeadLetterServiceStub:
        return dead_letters_pb2_grpc.DeadLetterServiceStub(self.channel)

    @property
    def subscriptions(self) -> subscriptions_pb2_grpc.SubscriptionServiceStub:
        return subscriptions_pb2_grpc.SubscriptionServiceStub(self.channel)

    @property
    def models(self) -> models_pb2_grpc.ModelEndpointServiceStub:
        return models_pb2_grpc.ModelEndpointServiceStub(self.channel)

    @property
    def policies(self) -> policies_pb2_grpc.PolicyServiceStub:
        return policies_pb2_grpc.PolicyServiceStub(self.channel)

    @property
    def usage(self) -> usage_pb2_grpc.UsageServiceStub:
        return usage_pb2_grpc.UsageServiceStub(self.channel)

    @property
    def sources(self) -> sources_pb2_grpc.SourceServiceStub:
        return sources_pb2_grpc.SourceServiceStub(self.channel)

    @property
    def answers(self) -> answers_pb2_grpc.AnswerServiceStub:
        return answers_pb2_grpc.AnswerServiceStub(self.channel)

    async def send(self, method: str, *requests: bytes, seconds: float = 10.0) -> list[bytes]:
        """Any bytes to any method, e.g. /morningai.api.tasks.v1.TaskService/GetTask, and the bytes that come back."""
        return [response async for response in self.channel.stream_stream(method)(iter(requests), timeout=seconds)]


@dataclass(frozen=True)
class Platform:
    database: TestDatabase
    address: str
    answers: FakeAnswers
    identities: IdentityProvider
    folder: Path
    operator_key: str = OPERATOR_KEY


@asynccontextmanager
async def connected(address: str, *metadata: tuple[str, str]) -> AsyncIterator[Client]:
    interceptors = [kind(metadata) for kind in (SendingUnary, SendingWatch, SendingUpload, SendingBytes)]
    async with grpc.aio.insecure_channel(address, interceptors=interceptors) as channel:
        yield Client(channel)


def bearer(key: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {key}")


class Sending:
    """Adds the caller's metadata to a call."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    async def call(self, continuation, details, request):  # type: ignore[no-untyped-def]
        sent = grpc.aio.Metadata(*self._metadata, *(details.metadata or ()))
        return await continuation(details._replace(metadata=sent), request)


# gRPC takes an interceptor for one kind of call each.
class SendingUnary(Sending, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = Sending.call


class SendingWatch(Sending, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = Sending.call


class SendingUpload(Sending, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = Sending.call


class SendingBytes(Sending, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = Sending.call


def resource_of(error: grpc.RpcError) -> str:
    """The kind of the resource that a failed call names; empty when it names none."""
    info = ResourceInfo()
    details = rpc_status.from_call(error).details
    return next((info.resource_type for packed in details if packed.Unpack(info)), "")


def field_of(error: grpc.RpcError) -> str:
    """The field, or else the kind of resource, that a failed call names."""
    return next((name for name, _ in field_violations(error)), resource_of(error))


@contextmanager
def running_platform(
    database: TestDatabase,
    nats_url: str,
    folder: Path,
    *,
    services: Sequence[str] = PROCESSES,
    docs: Mapping[str, str] = NO_SETTINGS,
) -> Iterator[Platform]:
    """With the fake in place of faqgen unless that is one of the services; `docs` are settings of that service."""
    answers = FakeAnswers()
    with ExitStack() as stack:
        if "faqgen" not in services:
            stack.enter_context(_serving(answers, f"unix:{folder}/faqgen.sock"))
        identities = stack.enter_context(running_identity_provider())
        processes = {
            service: stack.enter_context(
                running_process(
                    service, database, nats_url, folder, identities.jwks_uri, docs if service == "docs" else {}
                )
            )
            for service in services
        }
        for service, process in processes.items():
            wait_until_healthy(process, f"unix:{folder}/{service}.sock", folder / f"{service}.log")
        yield Platform(database, f"unix:{folder}/gateway.sock", answers, identities, folder)
        for process in processes.values():
            process.terminate()


@contextmanager
def _serving(answers: FakeAnswers, address: str) -> Iterator[None]:
    fake = grpc.server(ThreadPoolExecutor(2))
    answers_pb2_grpc.add_AnswerServiceServicer_to_server(answers, fake)
    fake.add_insecure_port(address)
    fake.start()
    yield
    fake.stop(None).wait()


@contextmanager
def running_process(
    service: str, database: TestDatabase, nats_url: str, folder: Path, jwks_uri: str, own: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    addresses = ("orchestrator", "docs", "faqgen", "codegen", "tenancy")
    settings = {
        "DATABASE_DSN": database.dsn(f"{service}_app"),
        "RELAY_DSN": database.dsn(f"{service}_relay"),
        "NATS_URL": nats_url,
        "NATS_USER": service,
        "NATS_PASSWORD": PASSWORD,
        "CALLOUT_PASSWORD": PASSWORD,
        "ISSUER_SECRET": PASSWORD,
        "GRPC_ADDRESS": f"unix:{folder}/{service}.sock",
        "WORK_DIR": str(folder / service),
        "SENDER_DSN": database.dsn("gateway_sender"),
        "SECRET_KEYS": make_key("k1"),
        "KEY_CACHE_SECONDS": str(KEY_CACHE_SECONDS),
        "KEY_USE_SECONDS": "0.2",
        "IDENTITY_ISSUERS": json.dumps([{"issuer": ISSUER, "audience": AUDIENCE, "jwks_uri": jwks_uri}]),
        "IDENTITY_EGRESS_ALLOWED": "127.0.0.1",
        **{f"{name.upper()}_ADDRESS": f"unix:{folder}/{name}.sock" for name in addresses},
    }
    settings |= {**(WEBHOOKS if service == "gateway" else {}), **own}
    environment = {**os.environ, **{f"MORNINGAI_{name}": value for name, value in settings.items()}}
    with (folder / f"{service}.log").open("wb") as log:
        command = [sys.executable, "-m", f"services.{service}"]
        process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def wait_until_healthy(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    quickly = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(address, options=quickly) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while not _is_serving(stub):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-4000:]
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")[-4000:]
            time.sleep(0.05)


def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def make_bundle(folder: Path, readme: str = "# Small") -> bytes:
    """A git bundle of one small commit."""
    repository, bundle = folder / "repository", folder / "small.bundle"
    script = f"""
    git init --quiet --initial-branch=main {repository} && cd {repository}
    printf '%s\\n' {shlex.quote(readme)} > README.md && git add README.md
    git -c user.name=Ada -c user.email=ada@example.org commit --quiet --message first
    git bundle create --quiet {bundle} HEAD main
    """
    process = await asyncio.create_subprocess_shell(script)
    assert await process.wait() == 0
    return bundle.read_bytes()


async def upload(client: Client, bundle: bytes, *, source_id: str = "small") -> sources_pb2.Source:
    source = sources_pb2.CreateSourceRequest(source_id=source_id, source=sources_pb2.Source(repository="small"))
    requests = [sources_pb2.UploadSourceRequest(source=source), sources_pb2.UploadSourceRequest(piece=bundle)]
    return await client.sources.UploadSource(iter(requests))


def new_task(instruction="what is it?", source="sources/small", kinds=ANSWER, request_id=None, **fields):
    task = api.Task(instruction=instruction, source=source, kinds=kinds, **fields)
    return api.CreateTaskRequest(task=task, request_id=str(request_id or uuid4()))


async def first_events(client, task, count, after=0):
    found = []
    watching = client.tasks.WatchTask(api.WatchTaskRequest(name=task.name, after_sequence=after), timeout=60)
    async for event in watching:
        found.append(event)
        if len(found) == count:
            break
    watching.cancel()
    return found


async def cancelled_task(client):
    """It waits for faqgen, which is a fake without a bus, until it is cancelled: six events."""
    task = await client.tasks.CreateTask(new_task())
    await first_events(client, task, 4)
    await client.tasks.CancelTask(api.CancelTaskRequest(name=task.name))
    return task
