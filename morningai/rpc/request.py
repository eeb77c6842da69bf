"""What enters a service: bytes become a message whose every text PostgreSQL can hold, or the call is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from morningai.errors import InvalidInput

LENGTH_DELIMITED = 2
# Twice the largest upload by default, and a bound for many small messages.
MOST_READ_ON_BYTES = 1024**3
# For a caller that nobody knows, or that comes too often: a request, and a little more.
MOST_READ_ON_OF_REFUSED_BYTES = 8 * 1024**2
FEWEST_BYTES = 4096


class Requests:
    """The messages of one call. Reading on after a refused one is allowed."""

    def __init__(self, received: AsyncIterator[bytes], kind: type[Message]) -> None:
        self._received = received
        self._kind = kind

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Message:
        """Raises InvalidInput that names the field."""
        return read_request(await anext(self._received), self._kind)

    async def only(self) -> Message:
        """The one message of a call that takes one; gRPC lets a caller send none, or more. Raises InvalidInput."""
        data = await anext(self._received, None)
        if data is None:
            raise InvalidInput("request", "is missing.", remedy=f"Send one {self._kind.DESCRIPTOR.name}.")
        message = read_request(data, self._kind)
        if await anext(self._received, None) is not None:
            raise InvalidInput("request", "comes more than once.", remedy=f"Send one {self._kind.DESCRIPTOR.name}.")
        return message


async def read_on(received: AsyncIterator[bytes], most_bytes: int = MOST_READ_ON_BYTES) -> None:
    """A caller that still writes may miss the refusal: grpc.aio then reports the failed write (grpc/grpc#36066)."""
    left = most_bytes
    async for data in received:
        left -= max(len(data), FEWEST_BYTES)
        if left < 0:
            return


def read_request(data: bytes, kind: type[Message]) -> Message:
    """Raises InvalidInput that names the field."""
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        raise _undecodable(data, kind) from error
    for path, text in _texts(message):
        if "\x00" in text:
            raise InvalidInput(path, "contains a NUL character.", remedy="Remove it.")
    return message


def _texts(message: Message, path: str = "") -> Iterator[tuple[str, str]]:
    """Each text with the path of its field; no request has a map."""
    for field, value in message.ListFields():
        for part in value if field.is_repeated else (value,):
            if field.type == FieldDescriptor.TYPE_STRING:
                yield path + field.name, part
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                yield from _texts(part, f"{path}{field.name}.")


def _undecodable(data: bytes, kind: type[Message]) -> InvalidInput:
    path = next(_paths_not_utf8(data, kind), "")
    if path:
        return InvalidInput(path, "is not UTF-8.", remedy="Send text in UTF-8, without surrogates.")
    return InvalidInput("request", f"is no {kind.DESCRIPTOR.name}.", remedy="Encode it with the published proto files.")


def _paths_not_utf8(data: bytes, kind: type[Message], path: str = "") -> Iterator[str]:
    """The decoder does not say which field it refused."""
    for number, content in _lengthy_fields(data):
        field = kind.DESCRIPTOR.fields_by_number.get(number)
        if field is not None and field.type == FieldDescriptor.TYPE_STRING and not _is_utf8(content):
            yield path + field.name
        elif field is not None and field.message_type is not None:
            part = GetMessageClass(field.message_type)  # type: ignore[arg-type]  # the same class twice in the stubs
            yield from _paths_not_utf8(content, part, f"{path}{field.name}.")


def _lengthy_fields(data: bytes) -> list[tuple[int, bytes]]:
    """The number and the content of each text, message and bytes field as sent; none when not even that can be told."""
    try:
        sent = UnknownFieldSet(Empty.FromString(data))
    except DecodeError:
        return []
    fields = (sent[position] for position in range(len(sent)))
    return [(field.field_number, field.data) for field in fields if field.wire_type == LENGTH_DELIMITED]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
