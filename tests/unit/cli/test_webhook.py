"""Webhook commands: what is asked of the gateway, and what a person and a program are told."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.errors import FailedPrecondition, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import DELIVERY, WEBHOOK, Script

ID = WEBHOOK.removeprefix("webhookEndpoints/")
URL = "https://ci.example.org/hook"


def test_an_added_webhook_shows_its_secret_once(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("webhook", "add", URL, "--event", "task.failed", "--event", "task.succeeded")

    endpoint = api.WebhookEndpoint(url=URL, event_types=["task.failed", "task.succeeded"])
    assert script.requests("CreateWebhookEndpoint") == [api.CreateWebhookEndpointRequest(webhook_endpoint=endpoint)]
    assert "secret   whsec_c2VjcmV0\n" in said.out
    assert "shown this once" in said.err


def test_an_added_webhook_as_json_has_its_secret(tenant_cli: Cli) -> None:
    said = tenant_cli("webhook", "add", URL, "--json")

    assert said.json["secret"] == "whsec_c2VjcmV0"
    assert said.json["webhook_endpoint"]["url"] == URL  # type: ignore[index]


def test_adding_is_not_repeated(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateWebhookEndpoint"] = [Unavailable("Try again.")]

    said = tenant_cli("webhook", "add", URL)

    assert said.code == 5
    assert len(script.requests("CreateWebhookEndpoint")) == 1


def test_webhooks_are_listed(tenant_cli: Cli) -> None:
    said = tenant_cli("webhook", "list")

    assert said.out.splitlines()[1].split() == [ID, "enabled", "task.failed", URL]


def test_webhooks_as_json(tenant_cli: Cli) -> None:
    said = tenant_cli("webhook", "list", "--json")

    assert said.json["webhook_endpoints"][0]["name"] == WEBHOOK  # type: ignore[index]


@pytest.mark.parametrize("name", [WEBHOOK, ID])
def test_a_disabled_webhook_says_why(tenant_cli: Cli, script: Script, name: str) -> None:
    said = tenant_cli("webhook", "show", name)

    assert script.requests("GetWebhookEndpoint") == [api.GetWebhookEndpointRequest(name=WEBHOOK)]
    assert "disabled · task.failed" in said.out
    assert "The endpoint answered 410 Gone." in said.out


def test_enabling_changes_the_state_alone(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("webhook", "enable", ID)

    endpoint = api.WebhookEndpoint(name=WEBHOOK, state=api.WEBHOOK_ENDPOINT_STATE_ENABLED)
    expected = api.UpdateWebhookEndpointRequest(webhook_endpoint=endpoint, update_mask=FieldMask(paths=["state"]))
    assert script.requests("UpdateWebhookEndpoint") == [expected]
    assert "enabled" in said.out


def test_a_removed_webhook_is_named(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("webhook", "remove", ID, "--json")

    assert script.requests("DeleteWebhookEndpoint") == [api.DeleteWebhookEndpointRequest(name=WEBHOOK)]
    assert said.json == {"removed": WEBHOOK}


def test_a_new_secret_is_shown_once(tenant_cli: Cli) -> None:
    said = tenant_cli("webhook", "rotate", ID)

    assert "secret   whsec_bmV3\n" in said.out


def test_deliveries_say_what_was_answered(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("webhook", "deliveries", ID, "--limit", "5")

    assert script.requests("ListWebhookDeliveries") == [api.ListWebhookDeliveriesRequest(parent=WEBHOOK, page_size=5)]
    assert said.out.splitlines()[1].startswith(f"{DELIVERY}  pending  task.failed  2      500")
    assert "The endpoint answered 500." in said.out


@pytest.mark.parametrize(
    ("command", "method"), [(("redeliver", DELIVERY), "RedeliverWebhook"), (("test", ID), "PingWebhookEndpoint")]
)
def test_what_is_sent_is_named_by_its_id(
    tenant_cli: Cli, script: Script, command: tuple[str, str], method: str
) -> None:
    said = tenant_cli("webhook", *command)

    assert len(script.requests(method)) == 1
    assert said.out == "task.failed is sent as 0198c1df-1111-7cc0-9c52-0d6a4f1f7f11.\n"


def test_a_disabled_webhook_is_not_tested(tenant_cli: Cli, script: Script) -> None:
    script.failures["PingWebhookEndpoint"] = [FailedPrecondition("It is disabled.", remedy="Enable it first.")]

    said = tenant_cli("webhook", "test", ID)

    assert said.code == 1
    assert "Enable it first." in said.err
