"""`key create|list|rotate|revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from morningai.api.tenants.v1.keys_pb2 import ApiKey, CreateApiKeyResponse, RotateApiKeyResponse
    from morningai.cli.output import Output

LARGEST_LIST = 1000
Name = Annotated[str, typer.Argument(metavar="KEY", help="apiKeys/… or the part behind the slash.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="API keys of the tenant.", no_args_is_help=True)
    gateway_command(group, "create")(create)
    gateway_command(group, "list")(list_keys)
    gateway_command(group, "rotate")(rotate)
    gateway_command(group, "revoke")(revoke)
    app.add_typer(group, name="key")


def create(
    invocation: Invocation,
    display_name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it may do, e.g. tasks.read; again for more.")],
    expires_in: Annotated[str, typer.Option("--expires-in", help="e.g. 12h or 90d; never if not given.")] = "",
) -> ExitCode:
    """Create an API key, which is shown this once. It gets at most the scopes of your own.

    \b
    Examples:
      morningai key create CI --scope tasks.read --scope tasks.write --scope sources.read
      morningai key create visitor --scope documents.read --expires-in 7d
    """
    from morningai.api.tenants.v1 import keys_pb2 as api

    key = api.ApiKey(display_name=display_name, scopes=scope, expire_time=_expiry(expires_in))
    with invocation.gateway() as gateway:
        created = gateway.call(gateway.keys.CreateApiKey, api.CreateApiKeyRequest(api_key=key), repeatable=False)
    _show(invocation.output, created)
    return ExitCode.SUCCESS


def list_keys(invocation: Invocation) -> ExitCode:
    """List the tenant's keys, newest first; never their secrets.

    \b
    Example:
      morningai key list
    """
    from morningai.api.tenants.v1 import keys_pb2 as api
    from morningai.cli.listing import all_pages, show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[ApiKey], str]:
            page = gateway.call(gateway.keys.ListApiKeys, api.ListApiKeysRequest(page_size=size, page_token=token))
            return list(page.api_keys), page.next_page_token

        keys = all_pages(fetch, limit=LARGEST_LIST)
    if invocation.output.json_output:
        invocation.output.document({"api_keys": [message_json(key) for key in keys]})
        return ExitCode.SUCCESS
    rows = [
        (
            key.name.removeprefix("apiKeys/"),
            key.display_name,
            "revoked" if key.HasField("revoke_time") else clock(key.expire_time) or "never",
            clock(key.last_used_time),
            ", ".join(key.scopes),
        )
        for key in keys
    ]
    show_listing(invocation.output, ("key", "name", "expires", "last used", "scopes"), rows)
    return ExitCode.SUCCESS


def rotate(
    invocation: Invocation,
    name: Name,
    overlap: Annotated[str, typer.Option("--overlap", help="How long the old secret stays valid, up to 7d.")] = "1h",
) -> ExitCode:
    """Give a key a new secret, which is shown this once.

    \b
    Examples:
      morningai key rotate mk_0123456789abcdef
      morningai key rotate mk_0123456789abcdef --overlap 0s
    """
    from google.protobuf.duration_pb2 import Duration

    from morningai.api.tenants.v1 import keys_pb2 as api
    from morningai.cli.duration import parse_duration
    from morningai.cli.wording import resource_name

    seconds = Duration(seconds=int(parse_duration(overlap, option="--overlap").total_seconds()))
    request = api.RotateApiKeyRequest(name=resource_name("apiKeys", name), overlap=seconds)
    with invocation.gateway() as gateway:
        rotated = gateway.call(gateway.keys.RotateApiKey, request, repeatable=False)
    _show(invocation.output, rotated)
    return ExitCode.SUCCESS


def revoke(invocation: Invocation, name: Name) -> ExitCode:
    """End a key for good: within seconds it opens nothing.

    \b
    Example:
      morningai key revoke mk_0123456789abcdef
    """
    from morningai.api.tenants.v1 import keys_pb2 as api
    from morningai.cli.output import message_json
    from morningai.cli.wording import resource_name

    request = api.RevokeApiKeyRequest(name=resource_name("apiKeys", name))
    with invocation.gateway() as gateway:
        revoked = gateway.call(gateway.keys.RevokeApiKey, request)
    if invocation.output.json_output:
        invocation.output.document(message_json(revoked))
    else:
        invocation.output.line(f"{revoked.name} is revoked")
    return ExitCode.SUCCESS


def _expiry(expires_in: str) -> Timestamp | None:
    from datetime import UTC, datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from morningai.cli.duration import parse_duration

    if not expires_in:
        return None
    expiry = Timestamp()
    expiry.FromDatetime(datetime.now(UTC) + parse_duration(expires_in, option="--expires-in"))
    return expiry


def _show(output: Output, made: CreateApiKeyResponse | RotateApiKeyResponse) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock

    if output.json_output:
        output.document(message_json(made))
        return
    output.line(f"name    {made.api_key.name} ({made.api_key.display_name})")
    output.line(f"key     {made.key}")
    output.note("The key is shown this once.")
    if made.api_key.HasField("previous_secret_expire_time"):
        output.note(f"The old secret is valid until {clock(made.api_key.previous_secret_expire_time)}.")
