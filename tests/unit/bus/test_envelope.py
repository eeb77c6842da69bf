from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.catalogue import message_type
from morningai.bus.envelope import Envelope, decode, encode_headers
from morningai.errors import Poison

COMMAND = events.GenerateAnswer(instruction="what is it?")
SENT_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ENVELOPE = Envelope(
    id=UUID(int=1),
    type=message_type(events.GenerateAnswer),
    source="/services/orchestrator",
    tenant_id=UUID(int=2),
    task_id=UUID(int=3),
    seal="k1|s|sealed",
    traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    body=COMMAND.SerializeToString(),
    causation_id=UUID(int=4),
    work_id=UUID(int=5),
)
HEADERS = encode_headers(ENVELOPE, time=SENT_AT)


def test_what_is_encoded_is_decoded():
    assert decode(HEADERS, ENVELOPE.body) == ENVELOPE
    assert decode(HEADERS, ENVELOPE.body).message() == COMMAND


def test_a_message_without_cause_and_work_is_decoded():
    first = replace(ENVELOPE, causation_id=None, work_id=None)
    assert decode(encode_headers(first, time=SENT_AT), first.body) == first


def test_headers_are_those_of_cloudevents_in_binary_mode():
    assert HEADERS["ce-specversion"] == "1.0"
    assert HEADERS["ce-type"] == "morningai.api.events.v1.GenerateAnswer"
    assert HEADERS["ce-time"] == "2026-11-23T12:00:00+00:00"
    assert HEADERS["ce-subject"] == f"tasks/{UUID(int=3)}"
    assert HEADERS["content-type"] == "application/protobuf"
    assert HEADERS["Nats-Msg-Id"] == HEADERS["ce-id"] == str(UUID(int=1))


@pytest.mark.parametrize("name", ["ce-id", "ce-type", "ce-tenantid", "ce-subject"])
def test_a_missing_header_is_poison(name):
    with pytest.raises(Poison, match="Unknown message type" if name == "ce-type" else name):
        decode({key: value for key, value in HEADERS.items() if key != name}, ENVELOPE.body)


@pytest.mark.parametrize("name", ["ce-id", "ce-type", "ce-tenantid", "ce-subject", "ce-causationid", "ce-workid"])
def test_a_malformed_header_is_poison(name):
    with pytest.raises(Poison):
        decode({**HEADERS, name: "nonsense"}, ENVELOPE.body)


def test_no_headers_at_all_are_poison():
    with pytest.raises(Poison, match="Unknown message type ''"):
        decode({}, b"")


def test_a_body_that_is_no_protobuf_is_poison():
    with pytest.raises(Poison, match=r"The body of GenerateAnswer .* is not valid protobuf"):
        replace(ENVELOPE, body=b"\xff\xff\xff").message()


def test_an_unknown_field_of_a_newer_sender_is_kept_apart():
    newer = COMMAND.SerializeToString() + b"\xfa\x07\x01x"
    assert replace(ENVELOPE, body=newer).message().instruction == "what is it?"
