"""`webhook add|list|show|remove|enable|rotate|deliveries|redeliver|test`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.subscriptions.v1.subscriptions_pb2 import WebhookDelivery, WebhookEndpoint
    from morningai.cli.output import Output

Name = Annotated[str, typer.Argument(metavar="WEBHOOK", help="webhookEndpoints/… or the part behind the slash.")]
COLLECTION = "webhookEndpoints"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Endpoints that hear of the tenant's tasks.", no_args_is_help=True)
    gateway_command(group, "add")(add)
    gateway_command(group, "list")(list_webhooks)
    gateway_command(group, "show")(show)
    gateway_command(group, "remove")(remove)
    gateway_command(group, "enable")(enable)
    gateway_command(group, "rotate")(rotate)
    gateway_command(group, "deliveries")(deliveries)
    gateway_command(group, "redeliver")(redeliver)
    gateway_command(group, "test")(test)
    app.add_typer(group, name="webhook")


def add(
    invocation: Invocation,
    url: Annotated[str, typer.Argument(help="https://host/path")],
    events: Annotated[
        list[str] | None, typer.Option("--event", help="Only this event, e.g. task.succeeded; may be repeated.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
) -> ExitCode:
    """Add an endpoint. Its signing secret is shown this once.

    \b
    Examples:
      morningai webhook add https://ci.example.org/morningai
      morningai webhook add https://ci.example.org/morningai --event task.succeeded --event task.failed
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api

    endpoint = api.WebhookEndpoint(url=url, event_types=events or [], description=description)
    request = api.CreateWebhookEndpointRequest(webhook_endpoint=endpoint)
    with invocation.gateway() as gateway:
        created = gateway.call(gateway.subscriptions.CreateWebhookEndpoint, request, repeatable=False)
    _show_secret(invocation.output, created.webhook_endpoint, created.secret)
    invocation.output.note(f"next: morningai webhook test {_short(created.webhook_endpoint.name)}")
    return ExitCode.SUCCESS


def list_webhooks(invocation: Invocation) -> ExitCode:
    """List the tenant's endpoints, newest first.

    \b
    Example:
      morningai webhook list
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.listing import all_pages, show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import webhook_state

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[WebhookEndpoint], str]:
            request = api.ListWebhookEndpointsRequest(page_size=size, page_token=token)
            page = gateway.call(gateway.subscriptions.ListWebhookEndpoints, request)
            return list(page.webhook_endpoints), page.next_page_token

        endpoints = all_pages(fetch)
    if invocation.output.json_output:
        invocation.output.document({"webhook_endpoints": [message_json(endpoint) for endpoint in endpoints]})
        return ExitCode.SUCCESS
    rows = [
        (_short(one.name), webhook_state(one.state), ", ".join(one.event_types) or "all", one.url, one.description)
        for one in endpoints
    ]
    show_listing(invocation.output, ("webhook", "state", "events", "url", "description"), rows)
    return ExitCode.SUCCESS


def show(invocation: Invocation, name: Name) -> ExitCode:
    """Show an endpoint, and why it is disabled if it is.

    \b
    Example:
      morningai webhook show 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.GetWebhookEndpointRequest(name=resource_name(COLLECTION, name))
        endpoint = gateway.call(gateway.subscriptions.GetWebhookEndpoint, request)
    _show(invocation.output, endpoint)
    return ExitCode.SUCCESS


def remove(invocation: Invocation, name: Name) -> ExitCode:
    """Remove an endpoint with the record of its deliveries.

    \b
    Example:
      morningai webhook remove 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.wording import resource_name

    full_name = resource_name(COLLECTION, name)
    with invocation.gateway() as gateway:
        request = api.DeleteWebhookEndpointRequest(name=full_name)
        gateway.call(gateway.subscriptions.DeleteWebhookEndpoint, request, repeatable=False)
    if invocation.output.json_output:
        invocation.output.document({"removed": full_name})
    else:
        invocation.output.line(f"{full_name} is removed.")
    return ExitCode.SUCCESS


def enable(invocation: Invocation, name: Name) -> ExitCode:
    """Enable an endpoint that was disabled. What was already due is sent now.

    \b
    Example:
      morningai webhook enable 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from google.protobuf.field_mask_pb2 import FieldMask

    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.wording import resource_name

    endpoint = api.WebhookEndpoint(name=resource_name(COLLECTION, name), state=api.WEBHOOK_ENDPOINT_STATE_ENABLED)
    request = api.UpdateWebhookEndpointRequest(webhook_endpoint=endpoint, update_mask=FieldMask(paths=["state"]))
    with invocation.gateway() as gateway:
        enabled = gateway.call(gateway.subscriptions.UpdateWebhookEndpoint, request)
    _show(invocation.output, enabled)
    return ExitCode.SUCCESS


def rotate(invocation: Invocation, name: Name) -> ExitCode:
    """Make a new signing secret, shown this once. The replaced one signs, too, for a day.

    \b
    Example:
      morningai webhook rotate 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.RotateWebhookSecretRequest(name=resource_name(COLLECTION, name))
    with invocation.gateway() as gateway:
        rotated = gateway.call(gateway.subscriptions.RotateWebhookSecret, request, repeatable=False)
    _show_secret(invocation.output, rotated.webhook_endpoint, rotated.secret)
    return ExitCode.SUCCESS


def deliveries(
    invocation: Invocation,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
) -> ExitCode:
    """List the deliveries to an endpoint, newest first.

    \b
    Example:
      morningai webhook deliveries 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.listing import all_pages
    from morningai.cli.output import message_json
    from morningai.cli.wording import resource_name

    parent = resource_name(COLLECTION, name)
    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[WebhookDelivery], str]:
            request = api.ListWebhookDeliveriesRequest(parent=parent, page_size=size, page_token=token)
            page = gateway.call(gateway.subscriptions.ListWebhookDeliveries, request)
            return list(page.webhook_deliveries), page.next_page_token

        found = all_pages(fetch, limit=limit)
    if invocation.output.json_output:
        invocation.output.document({"webhook_deliveries": [message_json(delivery) for delivery in found]})
    else:
        _show_deliveries(invocation.output, found)
    return ExitCode.SUCCESS


def redeliver(
    invocation: Invocation,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="As `webhook deliveries` shows it.")],
) -> ExitCode:
    """Deliver once more, under the same id.

    \b
    Example:
      morningai webhook redeliver webhookEndpoints/0198c1de-…/deliveries/0198c1df-…
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api

    with invocation.gateway() as gateway:
        request = api.RedeliverWebhookRequest(name=delivery)
        again = gateway.call(gateway.subscriptions.RedeliverWebhook, request, repeatable=False)
    _show_begun(invocation.output, again)
    return ExitCode.SUCCESS


def test(invocation: Invocation, name: Name) -> ExitCode:
    """Send an event `webhook.ping`, whatever the endpoint's filter is.

    \b
    Example:
      morningai webhook test 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.PingWebhookEndpointRequest(name=resource_name(COLLECTION, name))
    with invocation.gateway() as gateway:
        ping = gateway.call(gateway.subscriptions.PingWebhookEndpoint, request, repeatable=False)
    _show_begun(invocation.output, ping)
    return ExitCode.SUCCESS


def _short(name: str) -> str:
    return name.removeprefix(f"{COLLECTION}/")


def _show(output: Output, endpoint: WebhookEndpoint) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, webhook_state

    if output.json_output:
        output.document(message_json(endpoint))
        return
    output.line(endpoint.url, style="bold")
    events = ", ".join(endpoint.event_types) or "all events"
    output.line(f"{webhook_state(endpoint.state)} · {events} · {endpoint.name} · {clock(endpoint.create_time)}")
    for text in (endpoint.description, endpoint.disabled_reason):
        if text:
            output.line(text)


def _show_secret(output: Output, endpoint: WebhookEndpoint, secret: str) -> None:
    from morningai.cli.output import message_json

    if output.json_output:
        output.document({"webhook_endpoint": message_json(endpoint), "secret": secret})
        return
    output.line(f"webhook  {endpoint.name}")
    output.line(f"url      {endpoint.url}")
    output.line(f"secret   {secret}")
    output.note("The secret is shown this once.")


def _show_deliveries(output: Output, found: list[WebhookDelivery]) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.wording import clock, delivery_state

    rows = [
        (
            delivery.name,
            delivery_state(delivery.state),
            delivery.event_type,
            str(delivery.attempts),
            str(delivery.response_status or ""),
            clock(delivery.create_time),
            delivery.error,
        )
        for delivery in found
    ]
    show_listing(output, ("delivery", "state", "event", "tries", "answer", "created", "error"), rows)


def _show_begun(output: Output, delivery: WebhookDelivery) -> None:
    from morningai.cli.output import message_json

    if output.json_output:
        output.document(message_json(delivery))
        return
    output.line(f"{delivery.event_type} is sent as {delivery.webhook_id}.")
    parent = _short(delivery.name.partition("/deliveries/")[0])
    output.note(f"next: morningai webhook deliveries {parent}")
