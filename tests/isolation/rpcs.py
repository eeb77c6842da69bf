"""Every public RPC, from the descriptors, and what another tenant could put into its requests."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import morningai.api
from morningai.api.options.v1 import options_pb2 as options
from tests.integration.gateway.platform import Client

NAME = re.compile(r"[a-z][a-zA-Z_-]*(/[^/\s]+)+")
IDENTIFIER = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CREATIONS = ("Create", "Upload")
READINGS = ("Get", "List", "Watch", "Search", "Export")
# A branch is of a remote and of no tenant; what was uploaded has none, and a task for it would be refused.
NAMES_NOTHING = (
    "delivery",
    "page_token",
    "after_token",
    "event_types",
    "etag",
    "filter",
    "order_by",
    "start_date",
    "end_date",
)
# A call that ends what other calls are for comes after them, and one that may end the caller after all.
ENDINGS = (("Cancel", "Delete", "Remove"), ("Revoke",))
SECONDS = 10.0
DEEPEST = 5


@dataclass(frozen=True)
class Rpc:
    method: MethodDescriptor

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def scope(self) -> str:
        return str(self.method.GetOptions().Extensions[options.required_scope])

    @property
    def internal(self) -> bool:
        return bool(self.method.GetOptions().Extensions[options.internal])

    @property
    def creates(self) -> bool:
        return self.method.name.startswith(CREATIONS)

    @property
    def reads(self) -> bool:
        return self.method.name.startswith(READINGS)

    @property
    def rank(self) -> int:
        """In this order a caller can make every call with its own names."""
        endings = (place for place, words in enumerate(ENDINGS, 2) if self.method.name.startswith(words))
        return 0 if self.reads else next(endings, 1)

    @property
    def takes_names(self) -> bool:
        return any("sources/x" in text for text in texts(self.request("sources/x")))

    def request(self, value: str) -> Message:
        """With the value in every field that may name something, and in the others what is as right as can be."""
        return _filled(self.method.input_type, value, creates=self.creates)

    def response_of(self, data: bytes) -> Message:
        return GetMessageClass(self.method.output_type).FromString(data)


def every_rpc() -> list[Rpc]:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(morningai.api.__path__, "morningai.api.")
        if found.name.endswith("_pb2")
    ]
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    return [Rpc(method) for service in services for method in service.methods]


RPCS = {rpc.path: rpc for rpc in every_rpc()}
PUBLIC = {path: rpc for path, rpc in RPCS.items() if not rpc.internal}
INTERNAL = {path: rpc for path, rpc in RPCS.items() if rpc.internal}


def _filled(descriptor: Descriptor, value: str, *, creates: bool, depth: int = 0) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        chosen = field.containing_oneof is None or field.containing_oneof.fields[0] is field
        # The name of a resource that is to be created is set by the service, whatever a caller puts there (AIP-133).
        ignored = creates and depth > 0 and field.name == "name"
        if chosen and not ignored and field.name not in NAMES_NOTHING and depth < DEEPEST:
            _fill(message, field, value, creates=creates, depth=depth)
    return message


def _fill(message: Message, field: FieldDescriptor, value: str, *, creates: bool, depth: int) -> None:
    if field.message_type is not None:
        if field.message_type.full_name.startswith("google.protobuf."):
            return
        content: object = _filled(field.message_type, value, creates=creates, depth=depth + 1)
    else:
        content = _scalar(field, value)
    if content is None:
        return
    if field.is_repeated:
        getattr(message, field.name).append(content)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(content)
    else:
        setattr(message, field.name, content)


def _scalar(field: FieldDescriptor, value: str) -> object | None:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values[-1].number if field.is_repeated else None
    if field.type != FieldDescriptor.TYPE_STRING:
        return None
    if field.name == "request_id":
        return str(uuid4())
    # What a creation calls its resource is the last segment of a name.
    return value.rpartition("/")[2] if field.name.endswith("_id") and field.name != "trace_id" else value


def texts(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from value
            value = value.values()
        for part in value if field.is_repeated else (value,):
            if isinstance(part, Message):
                yield from texts(part)
            elif isinstance(part, str):
                yield part


def names_in(messages: Iterable[Message]) -> set[str]:
    """Everything in these messages that names something, as a name or as a bare identifier."""
    found = {text for message in messages for text in texts(message)}
    return {text for text in found if NAME.fullmatch(text) or IDENTIFIER.fullmatch(text)}


@dataclass(frozen=True)
class Outcome:
    code: grpc.StatusCode
    responses: tuple[bytes, ...] = ()
    details: str = ""


async def outcome_of(client: Client, rpc: Rpc, value: str) -> Outcome:
    try:
        answers = await _send(client, rpc, rpc.request(value).SerializeToString())
    except grpc.aio.AioRpcError as error:
        return Outcome(error.code(), details=str(error.details()))
    return Outcome(grpc.StatusCode.OK, tuple(answers))


async def _send(client: Client, rpc: Rpc, request: bytes) -> list[bytes]:
    """One request, and no more to come, in one piece: a caller that streams may see its failed write and not the
    refusal."""
    if rpc.method.server_streaming:
        return [answer async for answer in client.channel.unary_stream(rpc.path)(request, timeout=SECONDS)]
    return [await client.channel.unary_unary(rpc.path)(request, timeout=SECONDS)]
