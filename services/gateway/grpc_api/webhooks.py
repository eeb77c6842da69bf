"""SubscriptionService: a tenant's webhook endpoints and what was delivered to them, and watching its events."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.api.subscriptions.v1 import subscriptions_pb2_grpc
from morningai.db.session import Database, Session
from morningai.errors import Conflict, FailedPrecondition, InvalidInput, NotFound, Unavailable
from morningai.rpc.call import Context, check_scope, rpc_session
from morningai.rpc.pages import page_limit, page_of, read_token, write_token
from morningai.rpc.time import timestamp
from morningai.secrets.vault import Vault
from services.gateway.domain.webhooks import (
    MOST_ENDPOINTS,
    PING,
    SECRET_BYTES,
    Delivery,
    Endpoint,
    EndpointContent,
    EndpointState,
    check_content,
    secret_text,
    target_of,
)
from services.gateway.grpc_api.events import EventWatches
from services.gateway.messages import FEED_TYPES
from services.gateway.poster import Poster
from services.gateway.repository import webhooks as repository

LARGEST_PAGE = 200
CHANGEABLE = ("url", "event_types", "description", "state")
ENDPOINT_REMEDY = "`webhook list` shows the endpoints of your tenant."
DELIVERY_REMEDY = "`webhook deliveries` shows those of an endpoint."
DISABLED_BY_TENANT = "Disabled by request."


class SubscriptionServicer(subscriptions_pb2_grpc.SubscriptionServiceServicer):
    """`wake` tells the sender of this process that something is due."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        poster: Poster,
        *,
        watches: EventWatches,
        wake: Callable[[], None],
        overlap_seconds: float,
    ) -> None:
        self._database = database
        self._vault = vault
        self._poster = poster
        self._watches = watches
        self._wake = wake
        self._overlap_seconds = overlap_seconds

    async def WatchEvents(
        self, request: api.WatchEventsRequest, context: Context
    ) -> AsyncIterator[api.WatchEventsResponse]:
        async for response in self._watches.watch(request, context):
            yield response

    async def CreateWebhookEndpoint(
        self, request: api.CreateWebhookEndpointRequest, context: Context
    ) -> api.CreateWebhookEndpointResponse:
        await check_scope(self._database)
        content = await self._checked(_content_of(request.webhook_endpoint))
        endpoint_id, secret = uuid4(), os.urandom(SECRET_BYTES)
        async with rpc_session(self._database) as session:
            if await repository.count_endpoints(session) >= MOST_ENDPOINTS:
                raise FailedPrecondition(
                    f"The tenant has {MOST_ENDPOINTS} webhook endpoints.", remedy="Remove one that is not needed."
                )
            sealed = await self._vault.seal(session, repository.secret_cell(session.tenant_id, endpoint_id), secret)
            endpoint = await repository.insert_endpoint(session, endpoint_id, content, secret=sealed)
            await repository.record(session, "create", endpoint_id, _details(content, ["url", "event_types"]))
        return api.CreateWebhookEndpointResponse(
            webhook_endpoint=_endpoint_message(endpoint), secret=secret_text(secret)
        )

    async def ListWebhookEndpoints(
        self, request: api.ListWebhookEndpointsRequest, context: Context
    ) -> api.ListWebhookEndpointsResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        before = read_token(request.page_token, "webhook endpoints", _key)
        async with rpc_session(self._database) as session:
            endpoints = await repository.list_endpoints(session, before=before, limit=limit + 1)
        page = page_of(map(_endpoint_message, endpoints), limit)
        more = len(page) < len(endpoints)
        token = write_token("webhook endpoints", *endpoints[len(page) - 1].key) if more else ""
        return api.ListWebhookEndpointsResponse(webhook_endpoints=page, next_page_token=token)

    async def GetWebhookEndpoint(self, request: api.GetWebhookEndpointRequest, context: Context) -> api.WebhookEndpoint:
        async with rpc_session(self._database) as session:
            return _endpoint_message(await _get(session, request.name))

    async def UpdateWebhookEndpoint(
        self, request: api.UpdateWebhookEndpointRequest, context: Context
    ) -> api.WebhookEndpoint:
        name, masked = request.webhook_endpoint.name, set(request.update_mask.paths)
        if not masked or not masked <= set(CHANGEABLE):
            raise InvalidInput(
                "update_mask", "names no field that can be changed.", remedy=f"Use {', '.join(CHANGEABLE)}."
            )
        state = _state_of(request.webhook_endpoint.state) if "state" in masked else None
        async with rpc_session(self._database) as session:
            before = await _get(session, name)
        content = _changed(before.content, request.webhook_endpoint, masked)
        content = await self._checked(content, is_new_url=content.url != before.content.url)
        async with rpc_session(self._database) as session:
            await repository.update_endpoint(session, before.endpoint_id, content)
            if state:
                reason = DISABLED_BY_TENANT if state is EndpointState.DISABLED else ""
                await repository.update_state(session, before.endpoint_id, state, reason=reason)
            updated = await _get(session, name)
            details = _details(content, masked) | ({"state": state} if state else {})
            await repository.record(session, "update", before.endpoint_id, details)
        self._wake()
        return _endpoint_message(updated)

    async def DeleteWebhookEndpoint(
        self, request: api.DeleteWebhookEndpointRequest, context: Context
    ) -> api.DeleteWebhookEndpointResponse:
        endpoint_id = _endpoint_id(request.name)
        async with rpc_session(self._database) as session:
            if not await repository.delete_endpoint(session, endpoint_id):
                raise NotFound("webhook endpoint", request.name, remedy=ENDPOINT_REMEDY)
            await repository.record(session, "delete", endpoint_id, {})
        return api.DeleteWebhookEndpointResponse()

    async def RotateWebhookSecret(
        self, request: api.RotateWebhookSecretRequest, context: Context
    ) -> api.RotateWebhookSecretResponse:
        endpoint_id, secret = _endpoint_id(request.name), os.urandom(SECRET_BYTES)
        async with rpc_session(self._database) as session:
            found = await repository.lock_endpoint(session, endpoint_id)
            if found is None:
                raise NotFound("webhook endpoint", request.name, remedy=ENDPOINT_REMEDY)
            current = repository.secret_cell(session.tenant_id, endpoint_id)
            previous = repository.secret_cell(session.tenant_id, endpoint_id, previous=True)
            replaced = await self._vault.open(session, current, found[1])
            endpoint = await repository.replace_secret(
                session,
                endpoint_id,
                secret=await self._vault.seal(session, current, secret),
                previous_secret=await self._vault.seal(session, previous, replaced),
                overlap_seconds=self._overlap_seconds,
            )
            await repository.record(session, "rotate_secret", endpoint_id, {})
        return api.RotateWebhookSecretResponse(webhook_endpoint=_endpoint_message(endpoint), secret=secret_text(secret))

    async def PingWebhookEndpoint(
        self, request: api.PingWebhookEndpointRequest, context: Context
    ) -> api.WebhookDelivery:
        async with rpc_session(self._database) as session:
            endpoint = await _get_enabled(session, request.name)
            delivery = await repository.insert_delivery(
                session, endpoint.endpoint_id, event_id=uuid4(), event_type=PING, body=_ping_body(endpoint)
            )
        self._wake()
        return _delivery_message(delivery)

    async def ListWebhookDeliveries(
        self, request: api.ListWebhookDeliveriesRequest, context: Context
    ) -> api.ListWebhookDeliveriesResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        listing = f"deliveries of {request.parent}"
        before = read_token(request.page_token, listing, _key)
        async with rpc_session(self._database) as session:
            endpoint = await _get(session, request.parent)
            found = await repository.list_deliveries(session, endpoint.endpoint_id, before=before, limit=limit + 1)
        page = page_of(map(_delivery_message, found), limit)
        token = write_token(listing, *found[len(page) - 1].key) if len(page) < len(found) else ""
        return api.ListWebhookDeliveriesResponse(webhook_deliveries=page, next_page_token=token)

    async def RedeliverWebhook(self, request: api.RedeliverWebhookRequest, context: Context) -> api.WebhookDelivery:
        parent, delivery_id = _delivery_id(request.name)
        async with rpc_session(self._database) as session:
            endpoint = await _get_enabled(session, parent)
            delivery = await repository.deliver_again(session, endpoint.endpoint_id, delivery_id)
            under_way = not delivery and await repository.has_delivery(session, endpoint.endpoint_id, delivery_id)
        if under_way:
            raise Conflict(f"{request.name} is being delivered right now.", remedy="Try again in a few seconds.")
        if delivery is None:
            raise NotFound("webhook delivery", request.name, remedy=DELIVERY_REMEDY)
        self._wake()
        return _delivery_message(delivery)

    async def _checked(self, content: EndpointContent, *, is_new_url: bool = True) -> EndpointContent:
        """Raises InvalidInput. Each delivery checks the address again, so a resolver that is away refuses nothing."""
        checked = check_content(
            url=content.url,
            event_types=content.event_types,
            description=content.description,
            public_types=FEED_TYPES,
        )
        if is_new_url:
            with suppress(Unavailable):
                await self._poster.check(target_of(content.url))
        return checked


async def _get(session: Session, name: str) -> Endpoint:
    endpoint = await repository.get_endpoint(session, _endpoint_id(name))
    if endpoint is None:
        raise NotFound("webhook endpoint", name, remedy=ENDPOINT_REMEDY)
    return endpoint


async def _get_enabled(session: Session, name: str) -> Endpoint:
    endpoint = await _get(session, name)
    if endpoint.state is not EndpointState.ENABLED:
        raise FailedPrecondition(f"{name} is disabled.", remedy="Enable it first: `webhook enable`.")
    return endpoint


def _content_of(message: api.WebhookEndpoint) -> EndpointContent:
    return EndpointContent(message.url, tuple(message.event_types), message.description)


def _details(content: EndpointContent, fields: Collection[str]) -> dict[str, object]:
    """What the audit log says of a content."""
    told: dict[str, object] = {
        "url": target_of(content.url).host,
        "event_types": list(content.event_types),
        "description": content.description,
    }
    return {"host" if name == "url" else name: value for name, value in told.items() if name in fields}


def _changed(before: EndpointContent, message: api.WebhookEndpoint, masked: set[str]) -> EndpointContent:
    given = _content_of(message)
    return EndpointContent(
        url=given.url if "url" in masked else before.url,
        event_types=given.event_types if "event_types" in masked else before.event_types,
        description=given.description if "description" in masked else before.description,
    )


def _state_of(state: int) -> EndpointState:
    names = {api.WebhookEndpointState.Value(f"WEBHOOK_ENDPOINT_STATE_{name.upper()}"): name for name in EndpointState}
    found = next((name for value, name in names.items() if value == state), None)
    if found is None:
        raise InvalidInput("webhook_endpoint.state", f"{state} is not a state.", remedy="Use enabled or disabled.")
    return found


def _ping_body(endpoint: Endpoint) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": PING, "timestamp": now, "data": {"endpoint": _name(endpoint.endpoint_id)}})


def _name(endpoint_id: UUID) -> str:
    return f"webhookEndpoints/{endpoint_id}"


def _endpoint_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("webhookEndpoints/"))
    except ValueError as error:
        raise NotFound("webhook endpoint", name, remedy=ENDPOINT_REMEDY) from error


def _delivery_id(name: str) -> tuple[str, UUID]:
    """The endpoint's name, and the delivery's id."""
    parent, _, delivery_id = name.partition("/deliveries/")
    try:
        return parent, UUID(delivery_id)
    except ValueError as error:
        raise NotFound("webhook delivery", name, remedy=DELIVERY_REMEDY) from error


def _key(time: str, row_id: str) -> tuple[datetime, UUID]:
    return datetime.fromisoformat(time).astimezone(UTC), UUID(row_id)


def _endpoint_message(endpoint: Endpoint) -> api.WebhookEndpoint:
    return api.WebhookEndpoint(
        name=_name(endpoint.endpoint_id),
        url=endpoint.content.url,
        event_types=endpoint.content.event_types,
        description=endpoint.content.description,
        state=api.WebhookEndpointState.Value(f"WEBHOOK_ENDPOINT_STATE_{endpoint.state.upper()}"),
        disabled_reason=endpoint.disabled_reason,
        previous_secret_expire_time=timestamp(endpoint.previous_secret_expires_at),
        create_time=timestamp(endpoint.created_at),
        update_time=timestamp(endpoint.updated_at),
    )


def _delivery_message(delivery: Delivery) -> api.WebhookDelivery:
    return api.WebhookDelivery(
        name=f"{_name(delivery.endpoint_id)}/deliveries/{delivery.delivery_id}",
        webhook_id=str(delivery.event_id),
        event_type=delivery.event_type,
        state=api.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{delivery.state.upper()}"),
        attempts=delivery.attempts,
        next_attempt_time=None if delivery.ended_at else timestamp(delivery.due_at),
        response_status=delivery.response_status,
        response_body=delivery.response_body,
        error=delivery.error,
        create_time=timestamp(delivery.created_at),
        end_time=timestamp(delivery.ended_at),
    )
