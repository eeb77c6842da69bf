from __future__ import annotations

import pytest

from morningai.api.tenants.v1 import usage_pb2 as api
from morningai.cli.wording import money
from morningai.errors import RateLimited
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import OPERATOR_KEY, Script


@pytest.mark.parametrize(
    ("micros", "said"),
    [(0, "0.00"), (1_230_000, "1.23"), (5, "0.000005"), (1_234_567_890, "1,234.56789"), (2_000_000, "2.00")],
)
def test_money_is_said_to_the_last_millionth(micros: int, said: str) -> None:
    assert money(micros) == said


def test_usage_is_a_table_with_a_total(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("usage", "show", "--by", "model", "--from", "2026-11-01", "--to", "2026-11-30")
    assert said.code == 0
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["2026-11-02", "3", "1", "1,234", "56", "1.23"],
        ["total", "7", "0", "2,000", "90", "0.000005"],
    ]
    request = api.GetUsageRequest(group=api.USAGE_GROUP_MODEL, start_date="2026-11-01", end_date="2026-11-30")
    assert script.calls == [("GetUsage", request)]


def test_usage_as_json_is_the_answer(tenant_cli: Cli) -> None:
    assert tenant_cli("usage", "show", "--json").json["total"]["calls"] == "7"  # type: ignore[index]


def test_limits_say_what_holds_and_who_set_it(tenant_cli: Cli) -> None:
    said = tenant_cli("limits", "show")
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["sources", "500", "operator", "sources"],
        ["tokens_per_day", "900", "100", "tenant", "tokens"],
        ["tokens_per_month", "none", "100", "tokens"],
    ]


def test_budgets_are_set_and_unset(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("limits", "set", "tokens_per_day=900", "money_per_day=none").code == 0
    changes = [api.LimitChange(name="tokens_per_day", value=900), api.LimitChange(name="money_per_day")]
    assert script.calls == [("UpdateLimits", api.UpdateLimitsRequest(changes=changes))]


@pytest.mark.parametrize("change", ["tokens_per_day", "tokens_per_day=", "tokens_per_day=-1", "tokens_per_day=1.5"])
def test_what_is_no_change_is_refused_before_a_call(tenant_cli: Cli, script: Script, change: str) -> None:
    said = tenant_cli("limits", "set", change)
    assert (said.code, script.calls) == (2, [])
    assert "Write e.g. tokens_per_day=2000000." in said.err


def test_the_operator_sets_the_limits_of_a_tenant(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("limits", "set-tenant", "tenants/1", "sources=500", "--key", OPERATOR_KEY)
    assert said.code == 0
    changes = [api.LimitChange(name="sources", value=500)]
    assert script.calls == [("UpdateTenantLimits", api.UpdateTenantLimitsRequest(tenant="tenants/1", changes=changes))]


def test_the_operator_sees_the_limits_of_a_tenant(tenant_cli: Cli, script: Script) -> None:
    assert "sources" in tenant_cli("limits", "set-tenant", "tenants/1", "--key", OPERATOR_KEY).out
    assert script.calls == [("UpdateTenantLimits", api.UpdateTenantLimitsRequest(tenant="tenants/1"))]


def test_the_operator_sets_a_price(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("limits", "set-price", "m", "--prompt", "250000", "--answer", "2000000", "--key", OPERATOR_KEY)
    assert said.out == "m  prompt 250000  answer 2000000\n"


def test_a_limit_that_is_reached_is_told_with_its_remedy(tenant_cli: Cli, script: Script) -> None:
    reached = RateLimited("read_calls_per_minute", "The limit is reached.", remedy="Wait.", retry_after_seconds=3)
    script.failures["ListLimits"] = [reached]
    said = tenant_cli("limits", "show", "--json")
    assert (said.error["reason"], said.error["remedy"]) == ("RATE_LIMITED", "Wait.")
