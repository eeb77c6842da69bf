from __future__ import annotations

import pytest

from morningai.api.tenants.v1 import tenants_pb2
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import Script


def test_tenants_are_listed_with_their_states(operator_cli: Cli) -> None:
    said = operator_cli("tenant", "list")

    assert said.out.splitlines()[1].split() == ["acme", "active", "tenants/1"]


def test_a_tenant_is_renamed(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("tenant", "rename", "Acme Ltd.").out == "acme is called Acme Ltd.\n"
    renamed = tenants_pb2.Tenant(name="tenants/-", display_name="Acme Ltd.")
    assert script.requests("UpdateTenant") == [tenants_pb2.UpdateTenantRequest(tenant=renamed)]


@pytest.mark.parametrize("given", ["acme", "tenants/1"])
def test_a_tenant_is_suspended_by_its_slug_or_name(operator_cli: Cli, script: Script, given: str) -> None:
    said = operator_cli("tenant", "suspend", given)

    assert (said.code, said.out) == (0, "acme is suspended\n")
    assert script.requests("SuspendTenant") == [tenants_pb2.SuspendTenantRequest(name="tenants/1")]


def test_a_tenant_is_resumed(operator_cli: Cli) -> None:
    assert operator_cli("tenant", "resume", "acme", "--json").json["state"] == "TENANT_STATE_ACTIVE"


def test_an_unknown_slug_is_told_and_nothing_is_suspended(operator_cli: Cli, script: Script) -> None:
    said = operator_cli("tenant", "suspend", "other", "--json")

    assert (said.code, said.error["reason"]) == (1, "NOT_FOUND")
    assert script.requests("SuspendTenant") == []
