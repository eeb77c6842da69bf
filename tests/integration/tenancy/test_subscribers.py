"""Subscribers on the bus: a tenant's key opens a connection that hears the tenant's public events and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from nats.errors import Error as NatsError
from structlog.testing import capture_logs

from morningai.bus import subjects
from morningai.bus.server_config import MOST_SUBSCRIPTIONS
from services.tenancy.subscribers.watcher import LOOK_SECONDS
from tests.conftest import CONTAINERS, OPERATOR_KEY
from tests.door import Connected, door_settings, durable_of, key_id_of, live_of, open_door, replay_of

DISCONNECTED_WITHIN_SECONDS = 5.0


async def publish(spectator, tenant, *names):
    for name in names:
        subject = subjects.public_subject(tenant.tenant_id, "task", name)
        await spectator.publish(subject, name.encode(), headers={"ce-id": str(uuid4())})


def bodies(subscriber):
    return [message.data.decode() for message in subscriber.heard]


async def acknowledged(spectator, tenant, count):
    async with asyncio.timeout(10):
        while (await replay_state(spectator, tenant)).ack_floor.consumer_seq < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def left(spectator, tenant):
    """What is sent to a connection that the server still believes in comes again only after a while."""
    async with asyncio.timeout(10):
        while (await replay_state(spectator, tenant)).push_bound:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def replay_state(spectator, tenant):
    return await spectator.consumer_info(subjects.PUBLIC_STREAM, durable_of(tenant))


async def refused(connect, key, **options):
    with pytest.raises(NatsError, match="Authorization Violation"):
        await connect(key, **options)


@pytest.fixture
def other(database):
    return database.create_tenant("other")


async def test_a_subscriber_hears_its_tenant_s_events_live_and_no_other_s(
    door, connect, tenant, other, spectator, eventually
):
    subscriber = await connect(tenant.api_key)
    await subscriber.listen(live_of(tenant))
    await publish(spectator, other, "failed")
    await publish(spectator, tenant, "started", "succeeded")
    await eventually(lambda: bodies(subscriber) == ["started", "succeeded"])
    assert subscriber.errors == []


async def test_a_key_is_taken_as_a_password_too(door, connect, tenant):
    subscriber = await connect(None, user="anybody", password=tenant.api_key)
    await subscriber.listen(live_of(tenant))
    assert subscriber.errors == []


async def test_what_happened_before_is_replayed_until_it_is_acknowledged(
    door, connect, tenant, other, spectator, eventually
):
    await publish(spectator, other, "failed")
    await publish(spectator, tenant, "started", "step_changed")
    first = await connect(tenant.api_key)
    await first.listen(replay_of(tenant), acknowledge=True)
    await eventually(lambda: bodies(first) == ["started", "step_changed"])
    await acknowledged(spectator, tenant, 2)
    await first.client.close()
    await left(spectator, tenant)
    await publish(spectator, tenant, "succeeded")
    second = await connect(tenant.api_key)
    await second.listen(replay_of(tenant))
    await eventually(lambda: bodies(second) == ["succeeded"])
    (message,) = second.heard
    assert message.subject == subjects.public_subject(tenant.tenant_id, "task", "succeeded")


async def test_what_was_refused_is_delivered_again(door, connect, tenant, spectator, eventually):
    await publish(spectator, tenant, "started")
    subscriber = await connect(tenant.api_key)
    await subscriber.listen(replay_of(tenant))
    await eventually(lambda: bodies(subscriber) == ["started"])
    await subscriber.heard[0].nak()
    await eventually(lambda: bodies(subscriber) == ["started", "started"])


@pytest.mark.parametrize(
    "key", ["", "mk_0000000000000000.secret", "x", "mk_\x00.y", "'; DROP TABLE api_keys; --", "k1|g|forged"]
)
async def test_what_is_no_key_opens_nothing(door, connect, tenant, key):
    await refused(connect, key)


async def test_a_wrong_secret_opens_nothing(door, connect, tenant):
    await refused(connect, f"{key_id_of(tenant)}.wrong")


async def test_the_operator_s_key_opens_nothing(door, connect):
    await refused(connect, OPERATOR_KEY)


async def test_a_grant_opens_nothing(door, connect, tenant):
    await refused(connect, tenant.grant())


async def test_a_key_without_the_scope_opens_nothing(door, connect, tenant, database):
    await database.change("UPDATE tenancy.api_keys SET scopes = ARRAY['tasks.read']")
    await refused(connect, tenant.api_key)


@pytest.mark.parametrize("user", ["tenancy", "callout", "gateway"])
async def test_a_key_is_no_password_of_a_service(door, connect, tenant, user):
    await refused(connect, None, user=user, password=tenant.api_key)


ENDINGS = {
    "the key is revoked": "UPDATE tenancy.api_keys SET revoked_at = now() WHERE tenant_id = '{tenant}'",
    "the key expires": "UPDATE tenancy.api_keys SET expires_at = now() WHERE tenant_id = '{tenant}'",
    "the key loses its scope": "UPDATE tenancy.api_keys SET scopes = '{{}}' WHERE tenant_id = '{tenant}'",
    "the tenant is suspended": "UPDATE tenancy.tenants SET state = 'suspended' WHERE tenant_id = '{tenant}'",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_a_connection_ends_within_seconds(door, connect, tenant, other, database, ending, eventually):
    subscriber, bystander = await connect(tenant.api_key), await connect(other.api_key)
    await database.change(ending.format(tenant=tenant.tenant_id))
    began = time.monotonic()
    await eventually(lambda: subscriber.client.is_closed)
    assert time.monotonic() - began < DISCONNECTED_WITHIN_SECONDS
    assert bystander.client.is_connected
    await refused(connect, tenant.api_key)


async def test_a_connection_outlives_a_restart_of_tenancy_and_still_ends(
    database, nats_url, tmp_path, connect, tenant, spectator, eventually
):
    settings = door_settings(database, nats_url, tmp_path)
    async with open_door(settings):
        subscriber = await connect(tenant.api_key)
        await subscriber.listen(live_of(tenant))
    await publish(spectator, tenant, "started")
    await eventually(lambda: bodies(subscriber) == ["started"])
    await database.change("UPDATE tenancy.api_keys SET revoked_at = now()")
    async with open_door(settings):
        await eventually(lambda: subscriber.client.is_closed, seconds=DISCONNECTED_WITHIN_SECONDS)


async def test_without_the_callout_nobody_new_comes_in(database, nats_url, tmp_path, connect, tenant):
    async with open_door(door_settings(database, nats_url, tmp_path)):
        subscriber = await connect(tenant.api_key)
    await refused(connect, tenant.api_key)
    assert subscriber.client.is_connected
    await subscriber.listen(live_of(tenant))
    assert subscriber.errors == []


async def test_a_connection_has_a_limited_number_of_subscriptions(door, connect, tenant, eventually):
    subscriber = await connect(tenant.api_key)
    for _ in range(MOST_SUBSCRIPTIONS + 1):
        await subscriber.client.subscribe(live_of(tenant))
    await eventually(lambda: "maximum subscriptions exceeded" in str(subscriber.client.last_error).lower())


async def test_a_connection_sends_nothing_larger_than_an_acknowledgement(door, connect, tenant, eventually):
    subscriber = await connect(tenant.api_key)
    subscriber.client._max_payload = 1 << 20
    await subscriber.client.publish(f"$JS.ACK.PUBLIC.{durable_of(tenant)}.1.1.1.1.0", b"x" * 1024)
    await eventually(lambda: subscriber.client.is_closed)


async def test_an_event_is_heard_whatever_its_size(door, connect, tenant, spectator, eventually):
    subscriber = await connect(tenant.api_key)
    await subscriber.listen(live_of(tenant))
    await subscriber.listen(replay_of(tenant))
    await spectator.publish(subjects.public_subject(tenant.tenant_id, "task", "started"), b"x" * 900_000)
    await eventually(lambda: [len(message.data) for message in subscriber.heard] == [900_000] * 2)


@pytest.fixture
def open_with(database, nats_url, tmp_path):
    return lambda **settings: open_door(door_settings(database, nats_url, tmp_path, **settings))


async def admitted_soon(connect, key, seconds=LOOK_SECONDS):
    """Trying again, as clients do. The server tells tenancy of a connection that has ended a moment after its client
    knows, and a machine that others use takes its time for a flood."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await connect(key)
            except NatsError:
                await asyncio.sleep(0.05)


async def test_a_tenant_has_a_limited_number_of_connections(open_with, connect, tenant, other, eventually):
    async with open_with(connections_per_tenant=3):
        tried = await asyncio.gather(*(connect(tenant.api_key) for _ in range(10)), return_exceptions=True)
        entered = [each for each in tried if isinstance(each, Connected)]
        assert len(entered) == 3
        assert {str(each) for each in tried if each not in entered} == {"nats: 'Authorization Violation'"}
        await connect(other.api_key)
        await entered[0].client.close()
        another = await admitted_soon(connect, tenant.api_key)
        await refused(connect, tenant.api_key)
        await asyncio.sleep(2 * LOOK_SECONDS)
        assert [each.client.is_connected for each in (*entered[1:], another)] == [True] * 3


async def test_connections_are_counted_after_a_restart_of_tenancy_and_the_newest_of_too_many_end(
    open_with, connect, tenant, eventually
):
    async with open_with(connections_per_tenant=4):
        subscribers = [await connect(tenant.api_key) for _ in range(4)]
    async with open_with(connections_per_tenant=2):
        await refused(connect, tenant.api_key)
        await eventually(lambda: sum(s.client.is_closed for s in subscribers) == 2)
        assert [s.client.is_connected for s in subscribers] == [True, True, False, False]


@pytest.fixture
def another_key(database, tenant):
    """Another key of the tenant, with the scopes of its first."""

    def made():
        key_id = f"mk_{uuid4().hex[:16]}"
        with psycopg.connect(database.dsn("tenancy_app")) as connection:
            connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
            connection.execute("SELECT create_api_key(%s, 'secret', 'k', ARRAY['subscriptions.read'], NULL)", (key_id,))
        return replace(tenant, api_key=f"{key_id}.secret")

    return made


async def durables(spectator):
    return {consumer.name for consumer in await spectator.consumers_info(subjects.PUBLIC_STREAM)}


async def until_durables_are(spectator, expected):
    async with asyncio.timeout(DISCONNECTED_WITHIN_SECONDS):
        while await durables(spectator) != {durable_of(key) for key in expected}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_tenant_s_keys_have_a_limited_number_of_durables(
    open_with, connect, another_key, other, database, spectator
):
    first, second, third = another_key(), another_key(), another_key()
    async with open_with(durables_per_tenant=2):
        for key in (first, second):
            await (await connect(key.api_key)).client.close()
        with capture_logs() as logs:
            await refused(connect, third.api_key)
        (line,) = [log for log in logs if log["event"] == "tenancy.subscriber.refused"]
        assert line["reason"] == "QUOTA_EXCEEDED"
        assert f"2 keys of tenant {third.tenant_id} have a durable" in line["message"]
        await connect(first.api_key)
        await connect(other.api_key)
        await until_durables_are(spectator, {first, second, other})
        await database.change(f"UPDATE tenancy.api_keys SET revoked_at = now() WHERE key_id = '{key_id_of(second)}'")
        await until_durables_are(spectator, {first, other})
        await connect(third.api_key)


async def test_durables_are_counted_after_a_restart_of_tenancy(open_with, connect, another_key):
    first, second = another_key(), another_key()
    async with open_with(durables_per_tenant=1):
        await connect(first.api_key)
    async with open_with(durables_per_tenant=1):
        await refused(connect, second.api_key)
        await connect(first.api_key)


@pytest.mark.parametrize("ending", ["revoked_at = now()", "expires_at = now() + interval '1 second'"])
async def test_the_durable_of_a_key_that_ended_is_removed_whether_it_is_connected_or_not(
    door, connect, another_key, other, database, spectator, ending
):
    connected, away, kept = another_key(), another_key(), another_key()
    for key in (connected, away, kept, other):
        subscriber = await connect(key.api_key)
        if key is away:
            await subscriber.client.close()
    await until_durables_are(spectator, {connected, away, kept, other})
    ended = ", ".join(f"'{key_id_of(key)}'" for key in (connected, away))
    await database.change(f"UPDATE tenancy.api_keys SET {ending} WHERE key_id IN ({ended})")
    await until_durables_are(spectator, {kept, other})


async def test_a_suspended_tenant_s_durable_keeps_its_position(door, connect, tenant, database, spectator, eventually):
    await publish(spectator, tenant, "started")
    first = await connect(tenant.api_key)
    await first.listen(replay_of(tenant), acknowledge=True)
    await acknowledged(spectator, tenant, 1)
    await database.change("UPDATE tenancy.tenants SET state = 'suspended'")
    await eventually(lambda: first.client.is_closed)
    await asyncio.sleep(2 * LOOK_SECONDS)
    await publish(spectator, tenant, "succeeded")
    await database.change("UPDATE tenancy.tenants SET state = 'active'")
    second = await connect(tenant.api_key)
    await second.listen(replay_of(tenant))
    await eventually(lambda: bodies(second) == ["succeeded"])


async def connect_again_and_again(nats_url, key):
    """A client that is refused at once and comes back at once, with another wrong key each time."""
    address = urlsplit(nats_url)
    while True:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            with suppress(OSError):
                writer.write(
                    b"CONNECT " + json.dumps({"auth_token": key(), "verbose": False}).encode() + b"\r\nPING\r\n"
                )
                await reader.read()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


FLOODED_SECONDS = 10.0
WRONG_KEYS = {
    "other keys of nobody": lambda tenant: f"mk_{uuid4().hex[:16]}.{uuid4().hex}",
    "the same key of nobody": lambda tenant: "mk_0000000000000000.secret",
    "other secrets of a tenant's key": lambda tenant: f"{key_id_of(tenant)}.{uuid4().hex}",
    "garbage": lambda tenant: uuid4().hex,
}


@pytest.mark.parametrize("wrong", WRONG_KEYS.values(), ids=WRONG_KEYS)
async def test_a_flood_of_wrong_keys_keeps_no_good_key_out(door, connect, nats_url, tenant, other, wrong):
    """200 at a time come from the address that the good keys come from, one of them known and one never seen."""
    await (await connect(other.api_key)).client.close()
    async with asyncio.TaskGroup() as group:
        flood = [group.create_task(connect_again_and_again(nats_url, partial(wrong, tenant))) for _ in range(200)]
        await asyncio.sleep(1)
        for key in (other.api_key, tenant.api_key):
            await admitted_soon(connect, key, FLOODED_SECONDS)
        for each in flood:
            each.cancel()


@pytest.mark.skipif(CONTAINERS, reason="the log is in the container")
async def test_no_key_is_in_the_bus_s_log(door, connect, tenant, tmp_path):
    await connect(tenant.api_key)
    await refused(connect, f"{key_id_of(tenant)}.wrong-secret")
    log = next(tmp_path.rglob("nats.log")).read_text()
    assert "authentication error" in log
    assert "wrong-secret" not in log
    assert tenant.api_key not in log
