"""`tenant create|rename|list|suspend|resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from pathlib import Path

    from morningai.api.tenants.v1.tenants_pb2 import CreateTenantResponse, Tenant
    from morningai.cli.gateway import Gateway
    from morningai.cli.output import Output

LARGEST_LIST = 100_000
Name = Annotated[str, typer.Argument(metavar="TENANT", help="Its slug, or tenants/….")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tenants and their keys.", no_args_is_help=True)
    gateway_command(group, "create", principal="operator")(create)
    gateway_command(group, "rename")(rename)
    gateway_command(group, "list", principal="operator")(list_tenants)
    gateway_command(group, "suspend", principal="operator")(suspend)
    gateway_command(group, "resume", principal="operator")(resume)
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


def rename(
    invocation: Invocation, display_name: Annotated[str, typer.Argument(help="What people call it.")]
) -> ExitCode:
    """Change the display name of your tenant, as one of its owners. The slug stays.

    \b
    Example:
      morningai tenant rename "Acme Ltd."
    """
    from morningai.api.tenants.v1 import tenants_pb2 as api
    from morningai.cli.output import message_json

    request = api.UpdateTenantRequest(tenant=api.Tenant(name="tenants/-", display_name=display_name))
    with invocation.gateway() as gateway:
        renamed = gateway.call(gateway.tenants.UpdateTenant, request)
    if invocation.output.json_output:
        invocation.output.document(message_json(renamed))
    else:
        invocation.output.line(f"{renamed.slug} is called {renamed.display_name}")
    return ExitCode.SUCCESS


def list_tenants(invocation: Invocation) -> ExitCode:
    """List all tenants with their states; an operator sees nothing of their content.

    \b
    Example:
      morningai tenant list
    """
    from morningai.cli.listing import show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, tenant_state

    with invocation.gateway() as gateway:
        tenants = _all_tenants(gateway)
    if invocation.output.json_output:
        invocation.output.document({"tenants": [message_json(tenant) for tenant in tenants]})
        return ExitCode.SUCCESS
    rows = [
        (tenant.slug, tenant_state(tenant.state), clock(tenant.create_time), tenant.name, tenant.display_name)
        for tenant in tenants
    ]
    show_listing(invocation.output, ("tenant", "state", "created", "name", "display name"), rows)
    return ExitCode.SUCCESS


def suspend(invocation: Invocation, tenant: Name) -> ExitCode:
    """Shut a tenant out: within seconds its keys and members open nothing.

    \b
    Example:
      morningai tenant suspend acme
    """
    from morningai.api.tenants.v1 import tenants_pb2 as api

    with invocation.gateway() as gateway:
        request = api.SuspendTenantRequest(name=_full_name(gateway, tenant))
        _show_state(invocation.output, gateway.call(gateway.tenants.SuspendTenant, request))
    return ExitCode.SUCCESS


def resume(invocation: Invocation, tenant: Name) -> ExitCode:
    """Let a suspended tenant in again.

    \b
    Example:
      morningai tenant resume acme
    """
    from morningai.api.tenants.v1 import tenants_pb2 as api

    with invocation.gateway() as gateway:
        request = api.ResumeTenantRequest(name=_full_name(gateway, tenant))
        _show_state(invocation.output, gateway.call(gateway.tenants.ResumeTenant, request))
    return ExitCode.SUCCESS


def _all_tenants(gateway: Gateway) -> list[Tenant]:
    from morningai.api.tenants.v1 import tenants_pb2 as api
    from morningai.cli.listing import all_pages

    def fetch(size: int, token: str) -> tuple[list[Tenant], str]:
        request = api.ListTenantsRequest(page_size=size, page_token=token)
        page = gateway.call(gateway.tenants.ListTenants, request)
        return list(page.tenants), page.next_page_token

    return all_pages(fetch, limit=LARGEST_LIST)


def _full_name(gateway: Gateway, tenant: str) -> str:
    """Raises NotFound for a slug that no tenant has."""
    from morningai.errors import NotFound

    if "/" in tenant:
        return tenant
    for found in _all_tenants(gateway):
        if found.slug == tenant:
            return found.name
    raise NotFound("tenant", tenant, remedy="`tenant list` shows all of them.")


def _show_state(output: Output, tenant: Tenant) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import tenant_state

    if output.json_output:
        output.document(message_json(tenant))
    else:
        output.line(f"{tenant.slug} is {tenant_state(tenant.state)}")


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
