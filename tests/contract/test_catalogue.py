"""The message catalogue against what runs: subscriptions, permissions, protobuf, and the documents made from it."""

from __future__ import annotations

import functools
import importlib
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from morningai.api.events.v1 import events_pb2
from morningai.bus import asyncapi, subjects, topology
from morningai.bus.catalogue import CATALOGUE, subscriptions_of
from morningai.bus.dataflow import render
from morningai.bus.envelope import Envelope, encode_public_headers
from morningai.bus.handling import Short
from morningai.bus.permissions import BUS_OWNER, SERVICES, STREAMS, inbox_prefix
from morningai.secrets.key_ring import make_key

ROOT = Path(__file__).parents[2]
TENANT = "01a208ac-4527-7f06-8bfe-76352126d539"
# Parts of messages, not messages.
PARTS = {"Snapshot"}
SUBSCRIPTIONS = [subscription for service in SERVICES for subscription in subscriptions_of(service)]


async def ignore(session, envelope, message):
    return None


def handlers_of(service, tmp_path):
    """Those that the service's own wiring makes."""
    settings_class = importlib.import_module(f"services.{service}.settings").Settings
    required = [name for name, field in settings_class.model_fields.items() if field.is_required()]
    values = {name: f"unix:{tmp_path}/{name}.sock" for name in required} | {"work_dir": tmp_path / service}
    values |= {name: f"host={tmp_path}" for name in required if name.endswith("_dsn")}
    values |= {"secret_keys": make_key("k1")} if "secret_keys" in required else {}
    return importlib.import_module(f"services.{service}.app").make_service(settings_class(**values)).handlers


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_handles_exactly_the_messages_of_the_catalogue(service, tmp_path):
    handled = {body.DESCRIPTOR.full_name for body in handlers_of(service, tmp_path)}
    assert handled == {message.name for message in CATALOGUE if service in message.consumers}


async def test_the_running_consumers_are_those_of_the_catalogue(start_service, tmp_path):
    running = [
        await start_service(service, dict.fromkeys(handlers_of(service, tmp_path), Short(ignore)))
        for service in SERVICES
    ]
    found = {}
    for service in running:
        for subscription in service.bus.subscriptions:
            info = await service.bus.jetstream.consumer_info(subscription.stream, subscription.durable)
            filters = info.config.filter_subjects or [info.config.filter_subject]
            found[(info.stream_name, info.name)] = set(filters)
    assert found == {(s.stream, s.durable): set(s.filter_subjects) for s in SUBSCRIPTIONS}
    for stream in STREAMS:
        info = await running[SERVICES.index(BUS_OWNER)].bus.jetstream.stream_info(stream)
        assert info.state.consumer_count == len([s for s in SUBSCRIPTIONS if s.stream == stream])


async def test_handlers_that_are_not_those_of_the_catalogue_do_not_start(start_service):
    with pytest.raises(ValueError, match="gateway must handle"):
        await start_service("gateway", {events_pb2.TaskStarted: Short(ignore)})


def subject_of(message, consumer):
    if message.kind == "event":
        return subjects.event_subject(TENANT, message.context, message.event)
    return subjects.command_subject(consumer, message.consumers[consumer])


def copy_of(message):
    return subjects.public_subject(TENANT, message.context, message.event)


ALL_SUBJECTS = sorted(
    {subject_of(message, consumer) for message in CATALOGUE for consumer in message.consumers}
    | {copy_of(message) for message in CATALOGUE if message.kind == "event"}
)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_publishes_its_own_messages_and_no_other(visit, service):
    produced = [message for message in CATALOGUE if service in message.producers]
    own = {subject_of(message, consumer) for message in produced for consumer in message.consumers}
    own |= {copy_of(message) for message in produced if message.public}
    visitor = await visit(service)
    assert await visitor.refused_to_publish(ALL_SUBJECTS) == set(ALL_SUBJECTS) - own


STRAY_SUBJECTS = [
    "morningai.x",
    "morningai.event",
    f"morningai.event.{TENANT}",
    f"morningai.event.{TENANT}.task",
    f"morningai.event.{TENANT}.task.started.more",
    f"morningai.event.{TENANT}.task.deleted",
    "morningai.public",
    f"morningai.public.{TENANT}.task.deleted",
    "morningai.command.x",
    "x",
    "_INBOX.x",
    "$SYS.REQ.SERVER.PING",
]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_publishes_on_no_stray_subject_or_inbox(visit, service):
    stray = STRAY_SUBJECTS + [f"{inbox_prefix(other)}.x" for other in SERVICES]
    visitor = await visit(service)
    assert await visitor.refused_to_publish(stray) == set(stray)


WIDE = [">", "morningai.>", "_INBOX.>", "*.>", "$JS.>", "$SYS.>"]


def foreign_inboxes(service):
    return [f"{inbox_prefix(other)}.>" for other in SERVICES if other != service]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_subscribes_to_its_own_inbox_and_nothing_else(visit, service):
    wide = [*WIDE, *(stream.subjects[0] for stream in topology.STREAMS)]
    messages = [subscription.filter_subjects[0] for subscription in SUBSCRIPTIONS]
    forbidden = [*wide, *messages, *foreign_inboxes(service)]
    visitor = await visit(service)
    assert await visitor.refused_to_subscribe(forbidden) == set(forbidden)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_hears_its_own_inbox(visit, service):
    visitor = await visit(service)
    assert await visitor.refused_to_subscribe([f"{inbox_prefix(service)}.x"]) == set()
    assert visitor.errors == []


STREAM_VERBS = (
    *("STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.GET", "STREAM.MSG.DELETE", "STREAM.SNAPSHOT"),
    *("STREAM.RESTORE", "STREAM.LEADER.STEPDOWN", "STREAM.PEER.REMOVE", "DIRECT.GET"),
    *("CONSUMER.NAMES", "CONSUMER.LIST", "CONSUMER.CREATE"),
)
CONSUMER_VERBS = ("CREATE", "DURABLE.CREATE", "DELETE", "INFO", "MSG.NEXT", "PAUSE")


# Finding and removing keys' durables, in the stream that holds nothing else.
REMOVING = {
    f"$JS.API.CONSUMER.NAMES.{subjects.PUBLIC_STREAM}",
    f"$JS.API.CONSUMER.DELETE.{subjects.PUBLIC_STREAM}.evil",
}
# Whether a consumer is there, which the owner of the bus makes again.
LOOKING = {f"$JS.API.CONSUMER.INFO.{s.stream}.{s.durable}" for s in SUBSCRIPTIONS}


def administration(service):
    """What JetStream would do for a user who may ask; none of it is a service's business, but for what the owner of the
    bus does."""
    streams = STREAMS
    making = () if service == BUS_OWNER else ("STREAM.CREATE", "STREAM.INFO", "STREAM.UPDATE")
    of_stream = [f"$JS.API.{verb}.{stream}" for stream in streams for verb in (*STREAM_VERBS, *making)]
    others = [f"{s.stream}.{s.durable}" for s in SUBSCRIPTIONS if s.service != service]
    names = [*others, *(f"{stream}.evil" for stream in streams)]
    verbs = [verb for verb in CONSUMER_VERBS if service != BUS_OWNER or not verb.endswith("CREATE")]
    of_consumer = [f"$JS.API.CONSUMER.{verb}.{name}" for name in names for verb in verbs]
    of_consumer += [f"$JS.API.CONSUMER.CREATE.{stream}.evil" for stream in streams]
    mine = [f"{s.stream}.{s.durable}" for s in SUBSCRIPTIONS if s.service == service]
    own = [f"$JS.API.CONSUMER.{verb}.{name}" for name in mine for verb in ("DELETE", "CREATE", "DURABLE.CREATE")]
    own += [f"$JS.API.CONSUMER.CREATE.{name}.morningai.event.>" for name in mine]
    passed_on = f"{subjects.PUBLIC_STREAM}." if service == BUS_OWNER else "none"
    acknowledgements = [f"$JS.ACK.{name}.1.2.3.4.5" for name in names if not name.startswith(passed_on)]
    return [*of_stream, *of_consumer, *own, *acknowledgements, "$JS.API.STREAM.CREATE.EVIL", "$JS.API.INFO"]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_administers_no_stream_and_no_consumer_of_another(visit, service):
    visitor = await visit(service)
    forbidden = administration(service)
    allowed = REMOVING | LOOKING if service == BUS_OWNER else set()
    assert set(forbidden) - await visitor.refused_to_publish(forbidden) == allowed


@pytest.mark.parametrize("message", CATALOGUE, ids=lambda message: message.short_name)
def test_a_message_has_known_producers_and_consumers(message):
    assert set(message.producers) <= set(SERVICES)
    assert message.consumers
    assert set(message.consumers) <= set(SERVICES)


def test_every_message_of_the_proto_file_is_in_the_catalogue_once():
    declared = sorted(set(events_pb2.DESCRIPTOR.message_types_by_name) - PARTS)
    assert sorted(message.short_name for message in CATALOGUE) == declared


def test_an_event_is_named_after_its_subject():
    events = [message for message in CATALOGUE if message.kind == "event"]
    names = ["".join(word.title() for word in f"{m.context}_{m.event}".split("_")) for m in events]
    assert names == [message.short_name for message in events]


INTERNAL = {"TaskRequested", "DocumentGenerated", "PatchVerified", "SourceChecked", "StepFailed"}


def test_every_event_is_public_but_what_only_services_have_a_use_for():
    events = [message for message in CATALOGUE if message.kind == "event"]
    assert {message.short_name for message in events if not message.public} == INTERNAL
    assert not [message for message in CATALOGUE if message.kind == "command" and message.public]


def test_the_data_flow_page_is_made_from_the_catalogue():
    assert (ROOT / "docs" / "dataflow.md").read_text(encoding="utf-8") == render()


def test_the_document_for_subscribers_is_made_from_the_catalogue():
    assert (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8") == asyncapi.render()


def test_the_document_for_subscribers_has_a_channel_for_every_public_message_and_no_other():
    channels = {channel["address"] for channel in asyncapi.document()["channels"].values()}
    assert channels - {"morningai.replay.{tenant}.{key}"} == {
        subjects.public_subject("{tenant}", message.context, message.event) for message in CATALOGUE if message.public
    }


def test_every_reference_of_the_document_for_subscribers_leads_somewhere():
    document = asyncapi.document()
    references = re.findall(r"'\$ref': '#/([^']+)'", repr(document))
    assert references
    assert all(functools.reduce(lambda part, name: part[name], path.split("/"), document) for path in references)


def test_the_headers_of_the_document_are_those_that_subscribers_see():
    sample = Envelope(
        UUID(int=1), CATALOGUE[0], "", UUID(int=2), UUID(int=3), "seal", "", b"", UUID(int=4), UUID(int=5)
    )
    assert list(asyncapi.HEADERS) == list(encode_public_headers(sample, time=datetime.now(UTC)))


@pytest.mark.parametrize("message", [m for m in CATALOGUE if m.public], ids=lambda message: message.short_name)
def test_the_schema_of_the_document_reads_the_messages_of_the_services(message, tmp_path):
    (tmp_path / "event.proto").write_text(asyncapi.proto_source(message.body))
    compiled = tmp_path / "event.binpb"
    include = Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{tmp_path}", f"-I{include}", f"--descriptor_set_out={compiled}", "event.proto"]
    assert protoc.main(arguments) == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    fields = {each.name: {(f.name, f.number) for f in each.field} for each in file.message_type}
    assert fields[message.short_name] == {(f.name, f.number) for f in message.body.DESCRIPTOR.fields}
