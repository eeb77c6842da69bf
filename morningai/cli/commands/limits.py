"""`limits show`, `limits set`, and for the operator `limits set-tenant` and `limits set-price`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from morningai.api.tenants.v1.usage_pb2 import Limit, LimitChange

COLUMNS = ("limit", "value", "used", "set by", "what")
Changes = Annotated[list[str], typer.Argument(metavar="NAME=VALUE", help="A whole number, or 'none' to unset it.")]
SomeChanges = Annotated[list[str], typer.Argument(metavar="NAME=VALUE", help="As in `limits set`.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What your tenant may use.", no_args_is_help=True)
    gateway_command(group, "show")(show)
    gateway_command(group, "set")(set_limits)
    gateway_command(group, "set-tenant", principal="operator")(set_tenant)
    gateway_command(group, "set-price", principal="operator")(set_price)
    app.add_typer(group, name="limits")


def show(invocation: Invocation) -> ExitCode:
    """Show the rate limits, quotas and budgets of your tenant.

    Money is in millionths of the currency that the operator counts in.

    \b
    Example:
      morningai limits show
    """
    from morningai.api.tenants.v1 import usage_pb2 as api

    with invocation.gateway() as gateway:
        found = gateway.call(gateway.usage.ListLimits, api.ListLimitsRequest())
    _show(invocation, found, found.limits)
    return ExitCode.SUCCESS


def set_limits(invocation: Invocation, changes: Changes) -> ExitCode:
    """Set budgets of your own tenant: tokens or money per day or month (UTC).

    They hold where they are below what the operator allows.

    \b
    Examples:
      morningai limits set tokens_per_day=2000000
      morningai limits set money_per_month=none
    """
    from morningai.api.tenants.v1 import usage_pb2 as api

    request = api.UpdateLimitsRequest(changes=_changes(changes))
    with invocation.gateway() as gateway:
        updated = gateway.call(gateway.usage.UpdateLimits, request)
    _show(invocation, updated, updated.limits)
    return ExitCode.SUCCESS


def set_tenant(
    invocation: Invocation,
    tenant: Annotated[str, typer.Argument(help="tenants/{id}, as `tenant create` shows it.")],
    changes: SomeChanges = [],  # noqa: B006  typer's way to say that it may be empty
) -> ExitCode:
    """Set limits of a tenant in place of the defaults; without any, show them.

    It needs the operator's key.

    \b
    Example:
      morningai limits set-tenant tenants/0199… sources=500 read_calls_per_minute=60000
    """
    from morningai.api.tenants.v1 import usage_pb2 as api

    request = api.UpdateTenantLimitsRequest(tenant=tenant, changes=_changes(changes))
    with invocation.gateway() as gateway:
        updated = gateway.call(gateway.usage.UpdateTenantLimits, request)
    _show(invocation, updated, updated.limits)
    return ExitCode.SUCCESS


def set_price(
    invocation: Invocation,
    model: Annotated[str, typer.Argument(help="The name in MORNINGAI_MODEL_NAME.")],
    prompt: Annotated[int, typer.Option("--prompt", help="Millionths for a million tokens of prompts.")],
    answer: Annotated[int, typer.Option("--answer", help="Millionths for a million tokens of answers.")],
) -> ExitCode:
    """Set what a model costs; calls that are reserved after it are charged so.

    It needs the operator's key.

    \b
    Example:
      morningai limits set-price gpt-5-mini --prompt 250000 --answer 2000000
    """
    from morningai.api.tenants.v1 import usage_pb2 as api
    from morningai.cli.output import message_json

    price = api.ModelPrice(model=model, prompt_price=prompt, completion_price=answer)
    with invocation.gateway() as gateway:
        updated = gateway.call(gateway.usage.UpdateModelPrice, api.UpdateModelPriceRequest(price=price))
    if invocation.output.json_output:
        invocation.output.document(message_json(updated))
    else:
        invocation.output.line(f"{updated.model}  prompt {updated.prompt_price}  answer {updated.completion_price}")
    return ExitCode.SUCCESS


def _changes(changes: Iterable[str]) -> list[LimitChange]:
    """Raises InvalidInput."""
    from morningai.api.tenants.v1 import usage_pb2 as api
    from morningai.errors import InvalidInput

    made = []
    for change in changes:
        name, _, value = change.partition("=")
        if not value.isdecimal() and value != "none":
            raise InvalidInput("NAME=VALUE", f"'{change}' is no change.", remedy="Write e.g. tokens_per_day=2000000.")
        made.append(api.LimitChange(name=name, value=None if value == "none" else int(value)))
    return made


def _show(invocation: Invocation, answer: Message, limits: Iterable[Limit]) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.output import message_json

    if invocation.output.json_output:
        invocation.output.document(message_json(answer))
        return
    show_listing(invocation.output, COLUMNS, [_cells(limit) for limit in limits])


def _cells(limit: Limit) -> tuple[str, ...]:
    value = str(limit.value) if limit.HasField("value") else "none"
    used = str(limit.used) if limit.HasField("used") else ""
    return (limit.name, value, used, _set_by(limit), limit.description)


def _set_by(limit: Limit) -> str:
    if limit.HasField("tenant_value") and limit.value == limit.tenant_value:
        return "tenant"
    return "operator" if limit.HasField("operator_value") else ""
