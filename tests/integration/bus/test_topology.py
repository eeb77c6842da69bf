"""Streams of an earlier version take today's settings at the start, as far as JetStream changes them."""

from __future__ import annotations

import asyncio

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy

from morningai.bus import broker
from morningai.bus.permissions import BUS_OWNER
from morningai.bus.topology import STREAMS, ensure_topology, keep_topology
from morningai.errors import FailedPrecondition
from morningai.settings import ServiceSettings
from tests.conftest import PASSWORD

EVENTS, COMMANDS, _ = STREAMS


@pytest.fixture
async def jetstream(nats_url, tmp_path):
    """As the owner of the bus, with its permissions alone."""
    settings = ServiceSettings(
        database_dsn="",
        relay_dsn="",
        nats_url=nats_url,
        nats_user=BUS_OWNER,
        nats_password=PASSWORD,
        grpc_address="",
        work_dir=tmp_path,
    )
    connected, jetstream = await broker.connect(BUS_OWNER, settings)
    yield jetstream
    await connected.stop()


async def test_a_stream_with_other_settings_takes_those_of_today(jetstream):
    await jetstream.add_stream(EVENTS.evolve(max_age=60, subjects=["morningai.event.>", "morningai.old.>"]))
    await ensure_topology(jetstream, ack_wait_seconds=30)
    info = await jetstream.stream_info(EVENTS.name)
    assert (info.config.max_age, info.config.subjects) == (EVENTS.max_age, EVENTS.subjects)


async def test_what_is_not_set_here_is_the_operator_s(jetstream):
    await jetstream.add_stream(EVENTS.evolve(max_age=60, max_msgs=1000))
    await ensure_topology(jetstream, ack_wait_seconds=30)
    info = await jetstream.stream_info(EVENTS.name)
    assert (info.config.max_age, info.config.max_msgs) == (EVENTS.max_age, 1000)


async def test_a_second_start_changes_nothing(jetstream):
    await ensure_topology(jetstream, ack_wait_seconds=30)
    before = await jetstream.stream_info(COMMANDS.name)
    await ensure_topology(jetstream, ack_wait_seconds=60)
    assert (await jetstream.stream_info(COMMANDS.name)).config == before.config


async def test_consumers_of_an_earlier_version_take_the_acknowledgement_wait_of_today(jetstream):
    await ensure_topology(jetstream, ack_wait_seconds=30)
    await ensure_topology(jetstream, ack_wait_seconds=6)
    info = await jetstream.consumer_info(COMMANDS.name, "codegen-work")
    assert info.config.ack_wait == 6


async def test_a_setting_that_jetstream_never_changes_is_told_with_its_remedy(jetstream):
    await jetstream.add_stream(COMMANDS.evolve(retention=RetentionPolicy.LIMITS))
    with pytest.raises(FailedPrecondition, match="Stream COMMANDS cannot take today's settings") as refused:
        await ensure_topology(jetstream, ack_wait_seconds=30)
    assert "nats stream rm COMMANDS" in refused.value.remedy


async def test_a_missing_consumer_is_made_again_though_somebody_else_has_one_more(jetstream, spectator):
    await ensure_topology(jetstream, ack_wait_seconds=30)
    await spectator.add_consumer(EVENTS.name, ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=60.0))
    await spectator.delete_consumer(EVENTS.name, "gateway-tasks")
    told = asyncio.Event()

    async def on_made(made_at):
        told.set()

    keeping = asyncio.create_task(keep_topology(jetstream, ack_wait_seconds=30, on_made=on_made))
    await asyncio.wait_for(told.wait(), 10)
    keeping.cancel()
    assert (await spectator.consumer_info(EVENTS.name, "gateway-tasks")).name == "gateway-tasks"


async def test_more_replicas_than_nodes_are_refused_with_the_setting(jetstream):
    with pytest.raises(FailedPrecondition, match="too few nodes for 3 replicas of stream EVENTS") as refused:
        await ensure_topology(jetstream, ack_wait_seconds=30, replicas=3)
    assert "MORNINGAI_BUS_REPLICAS" in refused.value.remedy


async def test_a_stream_that_exists_is_refused_more_replicas_than_nodes_too(jetstream):
    await ensure_topology(jetstream, ack_wait_seconds=30)
    with pytest.raises(FailedPrecondition, match="too few nodes for 3 replicas of stream EVENTS"):
        await ensure_topology(jetstream, ack_wait_seconds=30, replicas=3)
