"""Tenancy twice: the streams are made once, whoever knocks is let in once, and an acknowledgement counts once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack

import pytest

from morningai.bus.catalogue import subscriptions_of
from morningai.bus.permissions import SERVICES
from morningai.bus.topology import STREAMS
from tests.door import door_settings, live_of, open_door, replay_of
from tests.integration.gateway.platform import running_process, wait_until_healthy
from tests.integration.tenancy.test_subscribers import acknowledged, bodies, publish, replay_state


@pytest.fixture
async def doors(database, nats_url, tmp_path):
    """Two of them; closing the first leaves the second."""
    async with AsyncExitStack() as second:
        await second.enter_async_context(open_door(door_settings(database, nats_url, tmp_path)))
        async with AsyncExitStack() as first:
            await first.enter_async_context(open_door(door_settings(database, nats_url, tmp_path)))
            yield first


async def test_a_subscriber_of_two_doors_hears_each_event_once(doors, connect, tenant, spectator, eventually):
    subscriber = await connect(tenant.api_key)
    await subscriber.listen(live_of(tenant))
    await publish(spectator, tenant, "started", "succeeded")
    await eventually(lambda: len(subscriber.heard) >= 2)
    await asyncio.sleep(0.5)
    assert bodies(subscriber) == ["started", "succeeded"]


async def test_what_was_refused_is_delivered_again_once(doors, connect, tenant, spectator, eventually):
    await publish(spectator, tenant, "started")
    subscriber = await connect(tenant.api_key)
    await subscriber.listen(replay_of(tenant))
    for times in range(1, 20):
        await eventually(lambda times=times: len(subscriber.heard) == times)
        await subscriber.heard[-1].nak()
    await eventually(lambda: len(subscriber.heard) == 20)
    await asyncio.sleep(1)
    assert len(subscriber.heard) == 20


async def test_the_door_that_is_left_lets_in_and_takes_acknowledgements(doors, connect, tenant, spectator, eventually):
    before = await connect(tenant.api_key)
    await before.listen(replay_of(tenant), acknowledge=True)
    await doors.aclose()
    await publish(spectator, tenant, "started", "succeeded")
    await eventually(lambda: bodies(before) == ["started", "succeeded"])
    await acknowledged(spectator, tenant, 2)
    assert (await replay_state(spectator, tenant)).num_ack_pending == 0
    after = await connect(tenant.api_key)
    assert after.client.is_connected


async def test_two_that_start_at_once_make_the_streams_and_consumers_once(database, nats_url, tmp_path, spectator):
    folders = [tmp_path / name for name in ("first", "second")]
    with ExitStack() as stack:
        started = [stack.enter_context(tenancy(database, nats_url, folder)) for folder in folders]
        for process, folder in zip(started, folders, strict=True):
            await asyncio.to_thread(wait_until_healthy, process, f"unix:{folder}/tenancy.sock", folder / "tenancy.log")
        made = {stream.name: await spectator.stream_info(stream.name) for stream in STREAMS}
        expected = [(one.stream, one.durable) for service in SERVICES for one in subscriptions_of(service)]
        found = [(await spectator.consumer_info(*one)).name for one in expected]
    assert found == [durable for _, durable in expected]
    assert sum(info.state.consumer_count for info in made.values()) == len(expected)


def tenancy(database, nats_url, folder):
    folder.mkdir()
    return running_process("tenancy", database, nats_url, folder, "https://127.0.0.1:1/keys", {})
