"""SubscriptionService at the real gateway, and what its endpoints hear of real tasks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from uuid import uuid4

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.rpc.status import remedy_of
from tests.conftest import eventually
from tests.integration.gateway.platform import cancelled_task, field_of, first_events, new_task
from tests.integration.gateway.receiver import Receiver, once, receiving

ENABLED, DISABLED = api.WEBHOOK_ENDPOINT_STATE_ENABLED, api.WEBHOOK_ENDPOINT_STATE_DISABLED
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


async def create(client, url, *event_types, description=""):
    endpoint = api.WebhookEndpoint(url=url, event_types=event_types, description=description)
    return await client.subscriptions.CreateWebhookEndpoint(api.CreateWebhookEndpointRequest(webhook_endpoint=endpoint))


async def update(client, name, *paths, **fields):
    endpoint = api.WebhookEndpoint(name=name, **fields)
    request = api.UpdateWebhookEndpointRequest(webhook_endpoint=endpoint, update_mask={"paths": paths})
    return await client.subscriptions.UpdateWebhookEndpoint(request)


async def get(client, name):
    return await client.subscriptions.GetWebhookEndpoint(api.GetWebhookEndpointRequest(name=name))


async def deliveries(client, name, **page):
    request = api.ListWebhookDeliveriesRequest(parent=name, **page)
    return await client.subscriptions.ListWebhookDeliveries(request)


async def test_an_endpoint_hears_every_public_event_of_a_task(client, platform, acme, receiver):
    created = await create(client, receiver.url)
    task = await cancelled_task(client)
    events = await first_events(client, task, 6)
    await eventually(lambda: len(receiver.received) == 6)
    heard = [request.verified(created.secret) for request in receiver.received]
    assert {content["type"] for content in heard} == {"task.started", "task.step_changed", "task.cancelled"}
    found = sorted((ParseDict(content["data"], tasks.TaskEvent()) for content in heard), key=lambda e: e.sequence)
    assert found == events
    assert {content["timestamp"] for content in heard} == {event.time.ToJsonString() for event in events}
    query = "SELECT id::text FROM orchestrator.outbox WHERE tenant_id = %s AND type LIKE '%%.Task%%'"
    assert {(name,) for name in receiver.ids} == set(platform.database.rows(query, acme.tenant_id))


async def test_a_watch_hears_the_same_events_under_the_same_ids(client, receiver):
    created = await create(client, receiver.url)
    task = await cancelled_task(client)
    await eventually(lambda: len(receiver.received) == 6)
    request = api.WatchEventsRequest(from_oldest=True, task=task.name)
    watched = [
        one.event async for one in client.subscriptions.WatchEvents(request, timeout=30) if one.HasField("event")
    ]
    heard = {request.headers["webhook-id"]: request.verified(created.secret) for request in receiver.received}
    assert [event.task_event.sequence for event in watched] == [1, 2, 3, 4, 5, 6]
    assert {event.id: event.type for event in watched} == {name: content["type"] for name, content in heard.items()}
    assert {event.id: event.task_event for event in watched} == {
        name: ParseDict(content["data"], tasks.TaskEvent()) for name, content in heard.items()
    }


async def test_an_endpoint_hears_that_a_task_expired(client, receiver):
    created = await create(client, receiver.url, "task.expired")
    task = await client.tasks.CreateTask(new_task(ttl=timedelta(seconds=1)))
    await eventually(lambda: receiver.received)
    (heard,) = [request.verified(created.secret) for request in receiver.received]
    assert (heard["type"], heard["data"]["task"]) == ("task.expired", task.name)
    assert heard["data"]["failure"]["reason"] == "task_expired"


async def test_nothing_internal_is_in_a_webhook(client, acme, receiver):
    await create(client, receiver.url)
    await cancelled_task(client)
    await eventually(lambda: len(receiver.received) == 6)
    everything = " ".join(f"{request.headers} {request.body.decode()}" for request in receiver.received)
    assert str(acme.tenant_id) not in everything
    assert "seal" not in everything
    assert {key for request in receiver.received for key in json.loads(request.body)} == {"type", "timestamp", "data"}


async def test_an_endpoint_hears_what_its_filter_names(client, receiver):
    created = await create(client, receiver.url, "task.started", "task.cancelled", "task.started")
    assert list(created.webhook_endpoint.event_types) == ["task.started", "task.cancelled"]
    await cancelled_task(client)
    await eventually(lambda: len(receiver.received) == 2)
    page = await deliveries(client, created.webhook_endpoint.name)
    assert [delivery.event_type for delivery in page.webhook_deliveries] == ["task.cancelled", "task.started"]


async def test_a_disabled_endpoint_hears_nothing(client, receiver):
    name = (await create(client, receiver.url, "task.cancelled")).webhook_endpoint.name
    assert (await update(client, name, "state", state=DISABLED)).state == DISABLED
    assert (await get(client, name)).disabled_reason == "Disabled by request."
    await first_events(client, await cancelled_task(client), 6)  # the last of them has come
    assert (await update(client, name, "state", state=ENABLED)).disabled_reason == ""
    await cancelled_task(client)
    await eventually(lambda: receiver.received)
    assert len((await deliveries(client, name)).webhook_deliveries) == 1


async def test_the_secret_is_shown_once_and_kept_sealed(client, platform, acme):
    created = await create(client, "https://8.8.8.8/hook", description="ours")
    assert created.secret.startswith("whsec_")
    endpoint = await get(client, created.webhook_endpoint.name)
    assert (endpoint, endpoint.description, endpoint.state) == (created.webhook_endpoint, "ours", ENABLED)
    assert "whsec_" not in str(endpoint)
    query = "SELECT to_jsonb(e)::text FROM gateway.webhook_endpoints AS e WHERE tenant_id = %s"
    [(row,)] = platform.database.rows(query, acme.tenant_id)
    assert created.secret not in row
    assert created.secret.removeprefix("whsec_") not in row


async def test_a_rotated_secret_overlaps(client, receiver):
    created = await create(client, receiver.url)
    name = created.webhook_endpoint.name
    rotated = await client.subscriptions.RotateWebhookSecret(api.RotateWebhookSecretRequest(name=name))
    assert rotated.secret != created.secret
    left = rotated.webhook_endpoint.previous_secret_expire_time.seconds - created.webhook_endpoint.create_time.seconds
    assert 86_300 < left < 86_500
    await client.subscriptions.PingWebhookEndpoint(api.PingWebhookEndpointRequest(name=name))
    await eventually(lambda: receiver.received)
    for secret in (created.secret, rotated.secret):
        assert receiver.received[0].verified(secret)["data"] == {"endpoint": name}


async def test_a_ping_comes_whatever_the_filter_is(client, receiver):
    created = await create(client, receiver.url, "task.failed")
    request = api.PingWebhookEndpointRequest(name=created.webhook_endpoint.name)
    pinged = await client.subscriptions.PingWebhookEndpoint(request)
    await eventually(lambda: receiver.received)
    assert receiver.received[0].verified(created.secret)["type"] == "webhook.ping"
    assert receiver.ids == [pinged.webhook_id]


async def delivered(client, receiver, name, pings=1):
    """A delivery that ended."""
    for _ in range(pings):
        await client.subscriptions.PingWebhookEndpoint(api.PingWebhookEndpointRequest(name=name))
    await eventually(lambda: receiver.received)
    [delivery] = (await deliveries(client, name)).webhook_deliveries
    while not delivery.HasField("end_time"):
        await asyncio.sleep(0.05)
        [delivery] = (await deliveries(client, name)).webhook_deliveries
    return delivery


async def test_a_delivery_is_made_again_under_the_same_id(client, receiver):
    name = (await create(client, receiver.url)).webhook_endpoint.name
    first = await delivered(client, receiver, name)
    assert (first.state, first.attempts, first.response_status) == (api.WEBHOOK_DELIVERY_STATE_SUCCEEDED, 1, 200)
    again = await client.subscriptions.RedeliverWebhook(api.RedeliverWebhookRequest(name=first.name))
    assert (again.name, again.state) == (first.name, api.WEBHOOK_DELIVERY_STATE_PENDING)
    await eventually(lambda: len(receiver.received) == 2)
    assert receiver.ids == [first.webhook_id] * 2


async def test_a_delivery_that_is_being_made_is_not_made_again(client, receiver):
    gate = threading.Event()
    receiver.answers = [once(gate)]
    name = (await create(client, receiver.url)).webhook_endpoint.name
    pinged = await client.subscriptions.PingWebhookEndpoint(api.PingWebhookEndpointRequest(name=name))
    await eventually(lambda: receiver.received)
    request = api.RedeliverWebhookRequest(name=pinged.name)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.subscriptions.RedeliverWebhook(request)
    assert refused.value.code() is grpc.StatusCode.ABORTED
    assert remedy_of(refused.value) == "Try again in a few seconds."
    gate.set()
    await delivered(client, receiver, name, pings=0)
    await client.subscriptions.RedeliverWebhook(request)
    await eventually(lambda: len(receiver.received) == 2)


async def test_a_failed_delivery_says_what_was_answered(client, receiver):
    receiver.answer = 503
    name = (await create(client, receiver.url)).webhook_endpoint.name
    failed = await delivered(client, receiver, name)
    assert (failed.state, failed.attempts, failed.response_status) == (api.WEBHOOK_DELIVERY_STATE_FAILED, 4, 503)
    assert failed.error == "The endpoint answered 503."


async def test_an_endpoint_that_is_gone_is_disabled_and_refuses_until_it_is_enabled(client, receiver):
    receiver.answer = 410
    name = (await create(client, receiver.url)).webhook_endpoint.name
    gone = await delivered(client, receiver, name)
    assert (await get(client, name)).state == DISABLED
    for call in (
        client.subscriptions.PingWebhookEndpoint(api.PingWebhookEndpointRequest(name=name)),
        client.subscriptions.RedeliverWebhook(api.RedeliverWebhookRequest(name=gone.name)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert remedy_of(refused.value) == "Enable it first: `webhook enable`."
    receiver.answer = 200
    await update(client, name, "state", state=ENABLED)
    await client.subscriptions.RedeliverWebhook(api.RedeliverWebhookRequest(name=gone.name))
    await eventually(lambda: len(receiver.received) == 2)


async def test_only_the_named_fields_change(client, receiver):
    name = (await create(client, receiver.url, "task.failed", description="a")).webhook_endpoint.name
    changed = await update(client, name, "description", "event_types", description="b", url="https://8.8.8.8/x")
    assert (changed.url, list(changed.event_types), changed.description) == (receiver.url, [], "b")
    moved = await update(client, name, "url", url="https://8.8.8.8/x")
    assert (moved.url, moved.description) == ("https://8.8.8.8/x", "b")


async def test_an_internal_address_is_refused_in_a_change_too(client, receiver):
    name = (await create(client, receiver.url)).webhook_endpoint.name
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await update(client, name, "url", url="https://10.0.0.1/")
    assert (refused.value.code(), field_of(refused.value)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "webhook_endpoint.url",
    )
    assert (await get(client, name)).url == receiver.url


async def test_a_removed_endpoint_is_gone_with_its_deliveries(client, platform, acme, receiver):
    name = (await create(client, receiver.url)).webhook_endpoint.name
    await delivered(client, receiver, name)
    await client.subscriptions.DeleteWebhookEndpoint(api.DeleteWebhookEndpointRequest(name=name))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await get(client, name)
    assert missing.value.code() is NOT_FOUND
    query = "SELECT count(*) FROM gateway.webhook_deliveries WHERE tenant_id = %s"
    assert platform.database.rows(query, acme.tenant_id) == [(0,)]


async def pages(method, request, field, size):
    found, token = [], ""
    while True:
        page = await method(request(page_size=size, page_token=token))
        found += getattr(page, field)
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_endpoints_and_deliveries_come_in_pages(client, receiver, size):
    created = [(await create(client, receiver.url)).webhook_endpoint for _ in range(3)]
    listing = client.subscriptions.ListWebhookEndpoints
    found = await pages(listing, api.ListWebhookEndpointsRequest, "webhook_endpoints", size)
    assert found == created[::-1]
    request = api.PingWebhookEndpointRequest(name=created[0].name)
    pings = [await client.subscriptions.PingWebhookEndpoint(request) for _ in range(3)]
    make = partial(api.ListWebhookDeliveriesRequest, parent=created[0].name)
    found = await pages(client.subscriptions.ListWebhookDeliveries, make, "webhook_deliveries", size)
    assert [delivery.name for delivery in found] == [ping.name for ping in pings[::-1]]


async def test_a_tenant_has_a_bounded_number_of_endpoints(client):
    for _ in range(20):
        await create(client, "https://8.8.8.8/hook")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(client, "https://8.8.8.8/hook")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert remedy_of(refused.value) == "Remove one that is not needed."


FOREIGN: dict[str, Callable[..., object]] = {
    "get": lambda s, name, _: s.GetWebhookEndpoint(api.GetWebhookEndpointRequest(name=name)),
    "delete": lambda s, name, _: s.DeleteWebhookEndpoint(api.DeleteWebhookEndpointRequest(name=name)),
    "rotate": lambda s, name, _: s.RotateWebhookSecret(api.RotateWebhookSecretRequest(name=name)),
    "ping": lambda s, name, _: s.PingWebhookEndpoint(api.PingWebhookEndpointRequest(name=name)),
    "list deliveries": lambda s, name, _: s.ListWebhookDeliveries(api.ListWebhookDeliveriesRequest(parent=name)),
    "redeliver": lambda s, _, delivery: s.RedeliverWebhook(api.RedeliverWebhookRequest(name=delivery)),
    "update": lambda s, name, _: s.UpdateWebhookEndpoint(
        api.UpdateWebhookEndpointRequest(
            webhook_endpoint=api.WebhookEndpoint(name=name, state=DISABLED), update_mask={"paths": ["state"]}
        )
    ),
}


async def test_another_tenant_neither_sees_nor_changes_an_endpoint(client, connect, new_tenant, receiver):
    name = (await create(client, receiver.url)).webhook_endpoint.name
    delivery = await delivered(client, receiver, name)
    before = await get(client, name)
    stranger = await connect(new_tenant().api_key)
    for call in FOREIGN.values():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(stranger.subscriptions, name, delivery.name)
        assert (refused.value.code(), field_of(refused.value)) == (NOT_FOUND, "webhook endpoint")
    listed = await stranger.subscriptions.ListWebhookEndpoints(api.ListWebhookEndpointsRequest())
    assert list(listed.webhook_endpoints) == []
    assert await get(client, name) == before
    assert len(receiver.received) == 1


async def test_an_endpoint_hears_nothing_of_another_tenant(client, connect, new_tenant, receiver):
    stranger = await connect(new_tenant().api_key)
    with receiving() as other:
        await create(stranger, other.url)
        await create(client, receiver.url)
        await cancelled_task(client)
        await eventually(lambda: len(receiver.received) == 6)
        assert other.received == []


async def only_read(platform, tenant):
    scopes = "ARRAY['subscriptions.read', 'sources.read']"
    await platform.database.change(
        f"UPDATE tenancy.api_keys SET scopes = {scopes} WHERE tenant_id = '{tenant.tenant_id}'"
    )
    await asyncio.sleep(0.6)  # longer than the gateway keeps a key


async def test_a_key_without_the_scope_resolves_no_name(platform, acme, client):
    await only_read(platform, acme)
    source = sources.Source(remote_uri="https://10.0.0.1/x.git")
    for call in (
        create(client, "https://10.0.0.1/"),
        client.sources.CreateSource(sources.CreateSourceRequest(source_id="x", source=source)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_is_administered_is_in_the_audit_log_without_secrets(client, platform, acme):
    created = await create(client, "https://8.8.8.8/path-key?query-key", "task.failed")
    name = created.webhook_endpoint.name
    await update(client, name, "state", state=DISABLED)
    await update(client, name, "url", "description", url="https://9.9.9.9/other-key", description="ours")
    rotated = await client.subscriptions.RotateWebhookSecret(api.RotateWebhookSecretRequest(name=name))
    await client.subscriptions.DeleteWebhookEndpoint(api.DeleteWebhookEndpointRequest(name=name))
    with pytest.raises(grpc.aio.AioRpcError):
        await client.subscriptions.DeleteWebhookEndpoint(api.DeleteWebhookEndpointRequest(name=name))
    query = "SELECT action, resource, details FROM tenancy.audit_log WHERE tenant_id = %s ORDER BY entry_id"
    entries = platform.database.rows(query, acme.tenant_id)
    assert [entry for entry in entries if entry[0].startswith("webhooks.")] == [
        ("webhooks.create", name, {"host": "8.8.8.8", "event_types": ["task.failed"]}),
        ("webhooks.update", name, {"state": "disabled"}),
        ("webhooks.update", name, {"host": "9.9.9.9", "description": "ours"}),
        ("webhooks.rotate_secret", name, {}),
        ("webhooks.delete", name, {}),
    ]
    for secret in (created.secret, rotated.secret, "-key"):
        assert secret not in str(entries)


async def test_a_key_without_the_scope_may_read_alone(platform, acme, receiver, client):
    name = (await create(client, receiver.url)).webhook_endpoint.name
    await only_read(platform, acme)
    assert (await get(client, name)).name == name
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(client, receiver.url)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_unknown_delivery_of_ones_own_endpoint_is_not_found(client, receiver):
    name = (await create(client, receiver.url)).webhook_endpoint.name
    request = api.RedeliverWebhookRequest(name=f"{name}/deliveries/{uuid4()}")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await client.subscriptions.RedeliverWebhook(request)
    assert (missing.value.code(), field_of(missing.value)) == (NOT_FOUND, "webhook delivery")
