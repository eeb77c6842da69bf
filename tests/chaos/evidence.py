"""The evidence of a chaos run: a folder of JSON lines, what each line says, and how it is read and written.

A file that is missing, or a line that does not say what it has to, is an error: nothing is taken for granted.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

CALLS = "calls.jsonl"
TENANTS = "tenants.jsonl"
TAP = "tap.jsonl"
BUS = "bus.jsonl"
WEBHOOKS = "webhooks.jsonl"
MODEL = "model.jsonl"
GIT = "git.jsonl"
REFS = "refs.jsonl"
PATCHES = "patches.jsonl"
FAULTS = "faults.jsonl"
# Only a run that has something to say there writes these.
OPTIONAL = (PATCHES, FAULTS)


class EvidenceUnusable(Exception):
    """The evidence cannot be judged: a missing file, or a line that is not what it should be."""


@dataclass(frozen=True)
class Tenant:
    slug: str
    tenant_id: str


@dataclass(frozen=True)
class Call:
    """An RPC of the recording client. `outcome` is "ok" or a status; `state` is the end that the answer told, and
    `events` what a stream of them said, in its order."""

    began: float
    ended: float
    tenant: str
    method: str
    request_id: str | None
    request: JsonObject
    outcome: str
    task: str | None
    state: str | None
    events: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class TapMessage:
    time: float
    stream: str
    subject: str
    sequence: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class StreamMadeAgain:
    """The bus had lost this stream: what it held last may never have been tapped."""

    time: float
    stream: str


@dataclass(frozen=True)
class LeftMessage:
    """A command that nobody had acknowledged when the bus was at rest."""

    stream: str
    subject: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class ConsumerAtRest:
    """A durable consumer at the end: messages that it has not delivered, and those delivered and not acknowledged."""

    stream: str
    consumer: str
    pending: int
    unacknowledged: int


@dataclass(frozen=True)
class StreamAtRest:
    """A stream at the end; `tapped` is the last sequence that the tap wrote down (None where it has no tap)."""

    stream: str
    last_sequence: int
    tapped: int | None


@dataclass(frozen=True)
class WebhookPost:
    time: float
    tenant: str
    endpoint: str
    webhook_id: str
    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class ModelCall:
    """`ended` is None, or `aborted` true, when the caller went away before the end of the answer."""

    began: float
    ended: float | None
    id: str
    status: int
    aborted: bool
    tenant: str | None


@dataclass(frozen=True)
class GitPush:
    """A ref of a tenant's remote changed; `old` is zeros for one that was not there."""

    time: float
    tenant: str
    ref: str
    old: str
    new: str


@dataclass(frozen=True)
class RefAtRest:
    tenant: str
    ref: str
    commit: str
    parents: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Fault:
    time: float
    kind: str
    target: str
    in_flight: bool


@dataclass(frozen=True)
class Evidence:
    tenants: tuple[Tenant, ...]
    calls: tuple[Call, ...]
    tap: tuple[TapMessage, ...]
    made_again: tuple[StreamMadeAgain, ...]
    left: tuple[LeftMessage, ...]
    consumers: tuple[ConsumerAtRest, ...]
    streams: tuple[StreamAtRest, ...]
    webhooks: tuple[WebhookPost, ...]
    model: tuple[ModelCall, ...]
    git: tuple[GitPush, ...]
    refs: tuple[RefAtRest, ...]
    faults: tuple[Fault, ...]


class Journal:
    """One file of a run's evidence. Each line is one write, so that threads and processes may share a file."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append(self, line: Mapping[str, object]) -> None:
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_evidence(folder: Path) -> Evidence:
    """Raises EvidenceUnusable that names the file and the line."""
    tap = list(_lines(folder, TAP))
    bus = _last_look(_lines(folder, BUS))
    evidence = Evidence(
        tenants=tuple(Tenant(line.text("slug"), line.text("tenant_id")) for line in _lines(folder, TENANTS)),
        calls=tuple(map(_call, _lines(folder, CALLS))),
        tap=tuple(_tapped(line) for line in tap if not line.has("made_again")),
        made_again=tuple(_made_again(line) for line in tap if line.has("made_again")),
        left=tuple(_left(line) for line in bus if line.has("subject")),
        consumers=tuple(_consumer(line) for line in bus if line.has("consumer")),
        streams=tuple(_stream(line) for line in bus if line.has("last_sequence")),
        webhooks=tuple(map(_post, _lines(folder, WEBHOOKS))),
        model=tuple(map(_model_call, _lines(folder, MODEL))),
        git=tuple(map(_push, _lines(folder, GIT))),
        refs=tuple(map(_ref, _lines(folder, REFS))),
        faults=tuple(map(_fault, _lines(folder, FAULTS))),
    )
    there = ((TENANTS, evidence.tenants), (CALLS, evidence.calls), (BUS, evidence.streams), (REFS, evidence.refs))
    for name, lines in there:
        if not lines:
            raise EvidenceUnusable(f"{folder / name} says nothing of the run: was its recorder running to the end?")
    return evidence


@dataclass(frozen=True)
class _Line:
    place: str
    values: JsonObject

    def has(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        return str(self._typed(name, str))

    def optional_text(self, name: str) -> str | None:
        return None if self._value(name) is None else self.text(name)

    def number(self, name: str) -> float:
        return float(cast(float, self._typed(name, int, float)))

    def optional_number(self, name: str) -> float | None:
        return None if self._value(name) is None else self.number(name)

    def count(self, name: str) -> int:
        return int(cast(int, self._typed(name, int)))

    def optional_count(self, name: str) -> int | None:
        return None if self._value(name) is None else self.count(name)

    def flag(self, name: str) -> bool:
        return bool(self._typed(name, bool))

    def mapping(self, name: str) -> JsonObject:
        return cast(JsonObject, self._typed(name, dict))

    def texts(self, name: str) -> dict[str, str]:
        return {key: str(value) for key, value in self.mapping(name).items()}

    def items(self, name: str) -> list[JsonValue]:
        return cast("list[JsonValue]", self._typed(name, list))

    def content(self, name: str) -> bytes:
        return self._decoded(name, self.text(name))

    def contents(self, name: str) -> tuple[bytes, ...]:
        return tuple(self._decoded(name, str(value)) for value in self.items(name))

    def _decoded(self, name: str, value: str) -> bytes:
        try:
            return b64decode(value, validate=True)
        except ValueError as error:
            raise EvidenceUnusable(f"{self.place}: {name} is not base64") from error

    def _value(self, name: str) -> JsonValue:
        if name not in self.values:
            raise EvidenceUnusable(f"{self.place}: {name} is missing")
        return self.values[name]

    def _typed(self, name: str, *types: type) -> object:
        value = self._value(name)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(kind.__name__ for kind in types)
            raise EvidenceUnusable(f"{self.place}: {name} is {value!r}, not {wanted}")
        return value


def _lines(folder: Path, name: str) -> Iterator[_Line]:
    path = folder / name
    if name in OPTIONAL and not path.exists():
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise EvidenceUnusable(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        yield _Line(f"{path.name} line {number}", _object(f"{path.name} line {number}", line))


def _object(place: str, line: str) -> JsonObject:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise EvidenceUnusable(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise EvidenceUnusable(f"{place} is not an object")
    return value


def _last_look(lines: Iterable[_Line]) -> list[_Line]:
    looks = [(line.number("time"), line) for line in lines]
    last = max((time for time, _ in looks), default=0.0)
    return [line for time, line in looks if time == last]


def _call(line: _Line) -> Call:
    return Call(
        began=line.number("began"),
        ended=line.number("ended"),
        tenant=line.text("tenant"),
        method=line.text("method"),
        request_id=line.optional_text("request_id"),
        request=line.mapping("request"),
        outcome=line.text("outcome"),
        task=line.optional_text("task"),
        state=line.optional_text("state"),
        events=line.contents("events") if line.has("events") else (),
    )


def _tapped(line: _Line) -> TapMessage:
    return TapMessage(
        time=line.number("time"),
        stream=line.text("stream"),
        subject=line.text("subject"),
        sequence=line.count("sequence"),
        headers=line.texts("headers"),
        body=line.content("body"),
    )


def _made_again(line: _Line) -> StreamMadeAgain:
    if not line.flag("made_again"):
        raise EvidenceUnusable(f"{line.place}: made_again is false")
    return StreamMadeAgain(line.number("time"), line.text("stream"))


def _left(line: _Line) -> LeftMessage:
    return LeftMessage(line.text("stream"), line.text("subject"), line.texts("headers"))


def _consumer(line: _Line) -> ConsumerAtRest:
    return ConsumerAtRest(
        line.text("stream"), line.text("consumer"), line.count("pending"), line.count("unacknowledged")
    )


def _stream(line: _Line) -> StreamAtRest:
    return StreamAtRest(line.text("stream"), line.count("last_sequence"), line.optional_count("tapped"))


def _post(line: _Line) -> WebhookPost:
    return WebhookPost(
        time=line.number("time"),
        tenant=line.text("tenant"),
        endpoint=line.text("endpoint"),
        webhook_id=line.text("webhook_id"),
        status=line.count("status"),
        body=line.content("body"),
        headers=line.texts("headers"),
    )


def _model_call(line: _Line) -> ModelCall:
    return ModelCall(
        began=line.number("began"),
        ended=line.optional_number("ended"),
        id=line.text("id"),
        status=line.count("status"),
        aborted=line.flag("aborted"),
        tenant=line.optional_text("tenant"),
    )


def _push(line: _Line) -> GitPush:
    return GitPush(line.number("time"), line.text("tenant"), line.text("ref"), line.text("old"), line.text("new"))


def _ref(line: _Line) -> RefAtRest:
    parents = tuple(map(str, line.items("parents")))
    return RefAtRest(line.text("tenant"), line.text("ref"), line.text("commit"), parents, line.text("message"))


def _fault(line: _Line) -> Fault:
    return Fault(line.number("time"), line.text("kind"), line.text("target"), line.flag("in_flight"))
