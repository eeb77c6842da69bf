"""`tenant create`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from pathlib import Path

    from morningai.api.tenants.v1.tenants_pb2 import CreateTenantResponse
    from morningai.cli.output import Output


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tenants and their keys.", no_args_is_help=True)
    gateway_command(group, "create", principal="operator")(create)
    app.add_typer(group, name="tenant")


def create(
    invocation: Invocation,
    slug: Annotated[str, typer.Argument(help="3 to 40 of a-z, 0-9 and '-'; unique.")],
    display_name: Annotated[str, typer.Option("--display-name", help="What people call it.")] = "",
    store: Annotated[bool, typer.Option(help="Keep the key as the default one of this platform.")] = True,
) -> ExitCode:
    """Create a tenant and its first API key, which is shown this once.

    It needs the operator's key, which `morningai up` writes into its data folder.

    \b
    Examples:
      morningai tenant create acme
      morningai tenant create acme --no-store
    """
    from morningai.api.tenants.v1 import tenants_pb2 as api

    tenant = api.Tenant(slug=slug, display_name=display_name)
    with invocation.gateway() as gateway:
        created = gateway.call(gateway.tenants.CreateTenant, api.CreateTenantRequest(tenant=tenant), repeatable=False)
    stored = _store(invocation, created) if store else None
    _show(invocation.output, created, stored)
    return ExitCode.SUCCESS


def _store(invocation: Invocation, created: CreateTenantResponse) -> Path | None:
    """None when the key could not be kept: it must be shown all the same."""
    from morningai.errors import MorningAIError

    place = invocation.place()
    try:
        place.credentials.store(place.label, tenant=created.tenant.slug, key=created.api_key)
    except (MorningAIError, OSError) as error:
        invocation.output.note(f"The key could not be kept: {error}", "yellow")
        return None
    return place.credentials.path


def _show(output: Output, created: CreateTenantResponse, stored: Path | None) -> None:
    from morningai.cli.output import message_json

    if output.json_output:
        output.document({**message_json(created), "stored": str(stored) if stored else None})
        return
    output.line(f"tenant  {created.tenant.slug} ({created.tenant.name})")
    output.line(f"key     {created.api_key}")
    output.note("The key is shown this once." + (f" It is kept in {stored} and used by default." if stored else ""))
    output.note("next: morningai source add NAME [PATH|URL]")
