"""Writes docs/asyncapi.yaml, what subscribers hear, from the message catalogue.

`python -m morningai.bus.asyncapi [--check] FILE`; the document is AsyncAPI 3.0, from the view of a subscriber.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, MessageType
from morningai.bus.envelope import CONTENT_TYPE

HEAD = "# Made from the message catalogue (morningai/bus/catalogue.py) by `make asyncapi`; do not edit.\n"
PROTOBUF = "application/vnd.google.protobuf;version=3"
PUBLIC = tuple(message for message in CATALOGUE if message.public)
HEADERS = {
    "ce-specversion": "Version of CloudEvents.",
    "ce-id": "The event's id. An event may come more than once, always under the same id.",
    "ce-type": "Full name of the protobuf message in the body.",
    "ce-source": "The service that says it.",
    "ce-subject": "The task it belongs to: tasks/{task}.",
    "ce-time": "When it was written (RFC 3339).",
    "ce-tenantid": "The tenant's id.",
    "traceparent": "W3C trace context; its second part is the task's trace ID.",
    "content-type": "Always application/protobuf.",
    "Nats-Msg-Id": "The same as ce-id.",
}
DESCRIPTION = """\
What a tenant's systems hear on MorningAI's bus. A connection is opened with an API key of the tenant that has the scope
subscriptions.read. Events arrive at least once: deduplicate by ce-id. See docs/guides/subscribe.md.
"""
REPLAY_DESCRIPTION = """\
What this key has not acknowledged of the last seven days. An empty message to the reply subject acknowledges an event.
"""
_SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BYTES: "bytes",
}


def render() -> str:
    return HEAD + yaml.dump(document(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def document() -> dict[str, object]:
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "MorningAI events", "version": "1", "description": DESCRIPTION},
        "defaultContentType": CONTENT_TYPE,
        "servers": {"bus": _server()},
        "channels": {**{_channel_name(message): _channel(message) for message in PUBLIC}, "replay": _replay()},
        "operations": {**dict(map(_operation, PUBLIC)), "hearReplay": _hear("replay", PUBLIC)},
        "components": {
            "messages": {message.short_name: _message(message) for message in PUBLIC},
            "schemas": {"Headers": _headers()},
            "parameters": {
                "tenant": {"description": "The tenant's id."},
                "key": {"description": "The key's id: what stands before the dot in the key."},
            },
            "securitySchemes": {"key": {"type": "apiKey", "in": "password", "description": "A key of the tenant."}},
        },
    }


def _server() -> dict[str, object]:
    return {
        "host": "127.0.0.1:4222",
        "protocol": "nats",
        "description": "The address that `morningai up` prints, or where compose.yaml publishes NATS.",
        "security": [{"$ref": "#/components/securitySchemes/key"}],
    }


def _channel_name(message: MessageType) -> str:
    return f"{message.context}.{message.event}"


def _channel(message: MessageType) -> dict[str, object]:
    return {
        "address": subjects.public_subject("{tenant}", message.context, message.event),
        "messages": {message.short_name: {"$ref": f"#/components/messages/{message.short_name}"}},
        "parameters": {"tenant": {"$ref": "#/components/parameters/tenant"}},
    }


def _replay() -> dict[str, object]:
    return {
        "address": f"{subjects.REPLAY_PREFIX}.{{tenant}}.{{key}}",
        "description": REPLAY_DESCRIPTION,
        "messages": {message.short_name: {"$ref": f"#/components/messages/{message.short_name}"} for message in PUBLIC},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in ("tenant", "key")},
    }


def _operation(message: MessageType) -> tuple[str, dict[str, object]]:
    return f"hear{message.short_name}", _hear(_channel_name(message), (message,))


def _hear(channel: str, messages: tuple[MessageType, ...]) -> dict[str, object]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message.short_name}"} for message in messages],
    }


def _message(message: MessageType) -> dict[str, object]:
    return {
        "name": message.name,
        "title": message.short_name,
        "summary": f"From {' or '.join(message.producers)}.",
        "contentType": CONTENT_TYPE,
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"schemaFormat": PROTOBUF, "schema": proto_source(message.body)},
    }


def _headers() -> dict[str, object]:
    properties = {name: {"type": "string", "description": description} for name, description in HEADERS.items()}
    return {"type": "object", "required": list(HEADERS), "properties": properties}


def proto_source(body: type[Message]) -> str:
    """The message and every message and enum it needs, as one proto file."""
    descriptor: Descriptor = body.DESCRIPTOR  # type: ignore[assignment]  # the stubs name two classes for it
    needed = list(dict.fromkeys(_needed(descriptor)))
    imports = [each for each in needed if each.file.package == "google.protobuf"]
    lines = ['syntax = "proto3";', *(f'import "{each.file.name}";' for each in imports)]
    for each in needed:
        if each not in imports:
            lines += ["", *_definition(each)]
    return "\n".join(lines) + "\n"


def _needed(descriptor: Descriptor) -> Iterator[Descriptor | EnumDescriptor]:
    yield descriptor
    for field in descriptor.fields:
        if field.message_type and field.message_type.file.package != "google.protobuf":
            yield from _needed(field.message_type)
        elif kind := field.message_type or field.enum_type:
            yield kind


def _definition(kind: Descriptor | EnumDescriptor) -> list[str]:
    if isinstance(kind, EnumDescriptor):
        return [f"enum {kind.name} {{", *(f"  {value.name} = {value.number};" for value in kind.values), "}"]
    return [f"message {kind.name} {{", *(f"  {_field(field)}" for field in kind.fields), "}"]


def _field(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    type_name = _SCALARS[field.type] if kind is None else _type_name(kind)
    repeated = "repeated " if field.is_repeated else ""
    return f"{repeated}{type_name} {field.name} = {field.number};"


def _type_name(kind: Descriptor | EnumDescriptor) -> str:
    return str(kind.full_name if kind.file.package == "google.protobuf" else kind.name)


class _Dumper(yaml.SafeDumper):
    """Text of several lines stays readable; nothing is an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def main() -> None:
    path = Path(sys.argv[-1])
    if "--check" not in sys.argv:
        path.write_text(render(), encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != render():
        raise SystemExit(f"{path} does not match the message catalogue; run `make asyncapi`")


if __name__ == "__main__":
    main()
