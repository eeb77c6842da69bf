from __future__ import annotations

import io

import pytest

from morningai.api.tenants.v1 import models_pb2
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import Script

KEY = "sk-hush0123456789abcdef"
URL = "https://llm.example.org/v1"


def test_a_key_is_read_from_standard_input_and_not_shown(
    tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))

    said = tenant_cli("model", "endpoint", "set", URL, "--model", "qwen", "--kind", "change")

    assert said.code == 0
    endpoint = models_pb2.ModelEndpoint(name="modelEndpoints/change", base_url=URL, model="qwen")
    assert script.requests("SetModelEndpoint") == [
        models_pb2.SetModelEndpointRequest(model_endpoint=endpoint, api_key=KEY)
    ]
    assert f"Tasks of the kind change ask qwen at {URL} from now on." in said.out
    assert KEY not in said.out + said.err


def test_without_a_key_none_is_asked_for(tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    said = tenant_cli("model", "endpoint", "set", URL, "--model", "qwen", "--no-key", "--context-tokens", "8192")

    assert "Tasks without an endpoint of their kind ask qwen" in said.out
    (request,) = script.requests("SetModelEndpoint")
    assert request.api_key == ""  # type: ignore[attr-defined]
    assert request.model_endpoint.context_tokens == 8192  # type: ignore[attr-defined]


def test_an_empty_standard_input_is_no_key(tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))

    said = tenant_cli("model", "endpoint", "set", URL, "--model", "qwen", "--json")

    assert (said.code, said.error["field"]) == (2, "key")
    assert script.calls == []


def test_a_kind_that_is_none_is_bad_usage(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("model", "endpoint", "clear", "--kind", "everything").code == 2
    assert script.calls == []


def test_the_list_says_whether_a_key_is_stored(tenant_cli: Cli) -> None:
    said = tenant_cli("model", "endpoint", "list")

    for word in ("change", "qwen", URL, "32,768", "stored"):
        assert word in said.out
    assert tenant_cli("model", "endpoint", "list", "--json").json["model_endpoints"][0]["has_api_key"] is True


def test_an_endpoint_is_cleared(tenant_cli: Cli, script: Script) -> None:
    assert "modelEndpoints/any has no endpoint." in tenant_cli("model", "endpoint", "clear").out
    assert script.requests("ClearModelEndpoint") == [models_pb2.ClearModelEndpointRequest(name="modelEndpoints/any")]
