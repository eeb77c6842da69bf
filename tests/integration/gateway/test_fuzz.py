"""Every public method under requests that no client would send: it refuses them, and goes on serving.

The methods and their fields come from the descriptors. The drawn seed is printed with a failure; put it into
SEEDS to see that again.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import morningai.api
from morningai.api.options.v1 import options_pb2 as options
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus.permissions import SERVICES
from morningai.rpc.status import field_violations, remedy_of
from tests.conftest import clone, running_nats
from tests.integration.gateway.platform import (
    Client,
    bearer,
    connected,
    make_bundle,
    new_task,
    running_platform,
    upload,
)

SEEDS = [20261125, secrets.randbits(32)]
REQUESTS = 60
AT_A_TIME = 12
DEADLINE_SECONDS = 20.0
WATCH_SECONDS = 0.3
FAILURES = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
NASTY = [
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\n",
        "\x7f\x1b[31m",
        "../..",
        "%s%n",
        "'; DROP TABLE tasks; --",
        "null",
        "-1",
        "tasks/",
    ),
    *("💥" * 50, "\u202e\u200b\ufeff", "é" * 3000, "x" * 100_000, "[" * 20_000, "e30=", "WyJ0YXNrcyJd", "tenants/-"),
    *("https://127.0.0.1/x.git", "ssh://[::1]/x", "https://[fe80::1%25eth0]/x", "file:///etc/passwd", "sources/small"),
]
# Else a key is refused what it sends with an invitation before anybody reads it.
MAY_ACCEPT = "UPDATE tenancy.api_keys SET scopes = scopes || ARRAY['invitations.accept']"
NUMBERS = [0, 1, -1, 2, 255, 2**31 - 1, -(2**31)]
# Of the bytes all is looked at, and none refused for coming too soon.
UNLIMITED = """
INSERT INTO tenancy.limits (tenant_id, name, operator_value)
SELECT '{}', name, 1000000 FROM tenancy.default_limits WHERE name LIKE '%calls%'
"""
LONG_NUMBERS = [*NUMBERS, 2**63 - 1, -(2**63)]


def public_methods() -> list[MethodDescriptor]:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(morningai.api.__path__, "morningai.api.")
        if found.name.endswith("_pb2")
    ]
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    methods = [method for service in services for method in service.methods]
    return [method for method in methods if not method.GetOptions().Extensions[options.internal]]


METHODS = {f"/{method.containing_service.full_name}/{method.name}": method for method in public_methods()}


@dataclass(frozen=True)
class Fuzzed:
    """A platform with every service behind the gateway, and what its callers may name."""

    client: Client
    operator: Client
    names: tuple[str, ...]
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fuzzed(postgres_server) -> AsyncIterator[Fuzzed]:
    with (
        tempfile.TemporaryDirectory(prefix="fz") as made,
        clone(postgres_server) as database,
    ):
        folder = Path(made)
        async with running_nats(folder) as nats_url:
            with running_platform(database, nats_url, folder, services=SERVICES) as platform:
                tenant = database.create_tenant("fuzzed")
                await database.change(UNLIMITED.format(tenant.tenant_id))
                await database.change(UNLIMITED.format(UUID(int=0)))
                key = tenant.api_key
                await database.change(MAY_ACCEPT)
                async with (
                    connected(platform.address, bearer(key)) as client,
                    connected(platform.address, bearer(platform.operator_key)) as operator,
                ):
                    await upload(client, await make_bundle(folder))
                    task = await client.tasks.CreateTask(new_task())
                    yield Fuzzed(client, operator, (task.name, "sources/small", "small", task.trace_id), folder)


class Requests:
    """Draws the messages of one call."""

    def __init__(self, seed: int, names: tuple[str, ...]) -> None:
        self._random = random.Random(seed)
        self._texts = [*NASTY, *names, str(uuid4())]

    def draw(self, method: MethodDescriptor) -> list[bytes]:
        count = self._random.choices([0, 1, 2, 5], [1, 20, 2, 2])[0]
        return [self._sent(GetMessageClass(method.input_type)) for _ in range(count)]

    def _sent(self, kind: type[Message]) -> bytes:
        data = self._message(kind).SerializeToString()
        change = self._random.choice(
            (self._same, self._flipped, self._cut, self._doubled, self._retyped, self._nested, self._noise)
        )
        return change(data)

    def _message(self, kind: type[Message]) -> Message:
        message = kind()
        for field in kind.DESCRIPTOR.fields:
            if self._random.random() < 0.75:
                self._fill(message, field)
        return message

    def _fill(self, message: Message, field: FieldDescriptor) -> None:
        count = self._random.choice((0, 1, 3)) if field.is_repeated else 1
        values = [self._value(field) for _ in range(count)]
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(values[0])
        else:
            setattr(message, field.name, values[0])

    def _value(self, field: FieldDescriptor) -> object:
        if field.message_type is not None:
            return self._message(GetMessageClass(field.message_type))
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._random.choice(self._texts)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._random.randbytes(self._random.choice((0, 1, 100, 70_000)))
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self._random.random() < 0.5
        return self._random.choice(LONG_NUMBERS if field.type == FieldDescriptor.TYPE_INT64 else NUMBERS)

    def _same(self, data: bytes) -> bytes:
        return data

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data or b"\x0a")
        for _ in range(self._random.randint(1, 8)):
            changed[self._random.randrange(min(len(changed), 200))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randint(0, len(data))]

    def _doubled(self, data: bytes) -> bytes:
        return data * self._random.randint(2, 4)

    def _retyped(self, data: bytes) -> bytes:
        """Known numbers under other wire types: varint, fixed, and a group."""
        tag = self._random.randint(1, 5) << 3
        parts = (
            bytes([tag, 0x7F]),
            bytes([tag | 5, 1, 2, 3, 4]),
            bytes([tag | 1, *range(8)]),
            bytes([tag | 3, tag | 4]),
        )
        return self._random.choice(parts) + data

    def _nested(self, data: bytes) -> bytes:
        depth = self._random.choice((3, 90, 5000))
        return data + b"\x0b" * depth + b"\x0c" * depth

    def _noise(self, data: bytes) -> bytes:
        return self._random.randbytes(self._random.choice((1, 30, 3000)))


async def status_of(client: Client, name: str, method: MethodDescriptor, requests: list[bytes]) -> grpc.RpcError | None:
    seconds = WATCH_SECONDS if method.server_streaming else DEADLINE_SECONDS
    try:
        await client.send(name, *requests, seconds=seconds)
    except grpc.aio.AioRpcError as error:
        # A watch lasts as long as its task.
        watched = method.server_streaming and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return None if watched else error
    return None


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("seed", SEEDS, ids=["fixed", "drawn"])
@pytest.mark.parametrize("name", METHODS)
async def test_a_method_refuses_any_bytes_with_a_reason_and_goes_on(fuzzed, name, seed):
    print(f"seed {seed}")
    drawn = Requests(seed, fuzzed.names)
    method, gate = METHODS[name], asyncio.Semaphore(AT_A_TIME)

    async def call(requests: list[bytes]) -> str:
        async with gate:
            error = await status_of(caller, name, method, requests)
        return problem_of(error, requests) if error else ""

    scope = method.GetOptions().Extensions[options.required_scope]
    caller = fuzzed.operator if scope == "operator" else fuzzed.client
    problems = await asyncio.gather(*(call(drawn.draw(method)) for _ in range(REQUESTS)))
    assert [problem for problem in problems if problem] == []
    assert (await fuzzed.client.tasks.ListTasks(tasks.ListTasksRequest(page_size=1), timeout=5)).tasks
    assert crashes(fuzzed.folder) == []


def problem_of(error: grpc.RpcError, requests: list[bytes]) -> str:
    """What is wrong with a refusal; empty when nothing is."""
    sent = [request[:200] for request in requests]
    if error.code() in FAILURES:
        return f"{error.code().name}: {error.details()} for {sent}"
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT and not (field_violations(error) and remedy_of(error)):
        return f"neither field nor remedy: {error.details()} for {sent}"
    return ""


def crashes(folder: Path) -> list[str]:
    return [line for log in folder.glob("*.log") for line in crashed(log)]


def crashed(log: Path) -> Iterator[str]:
    for line in log.read_text(encoding="utf-8").splitlines():
        if "rpc.call.crashed" in line or "Traceback" in line:
            yield f"{log.name}: {line[:300]}"


def texts_of(method: MethodDescriptor) -> list[tuple[str, Message]]:
    """For each text of a method's request its path, and a request that has a NUL there."""
    return list(_texts(GetMessageClass(method.input_type)))


def _texts(kind: type[Message]) -> Iterator[tuple[str, Message]]:
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None:
            for path, part in _texts(GetMessageClass(field.message_type)):
                yield f"{field.name}.{path}", kind(**{field.name: [part] if field.is_repeated else part})
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield field.name, kind(**{field.name: ["\x00"] if field.is_repeated else "\x00"})


TEXTS = [(name, path, request) for name, method in METHODS.items() for path, request in texts_of(method)]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "path", "request_"), TEXTS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_nul_is_refused_in_every_text_of_every_method(fuzzed, name, path, request_):
    scope = METHODS[name].GetOptions().Extensions[options.required_scope]
    caller = fuzzed.operator if scope == "operator" else fuzzed.client
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.send(name, request_.SerializeToString())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _ in field_violations(refused.value)] == [path]
    assert remedy_of(refused.value) == "Remove it."
