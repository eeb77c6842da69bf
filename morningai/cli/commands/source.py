"""`source add|list` and `source credential set|clear`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command
from morningai.cli.secret_input import read_secret

if TYPE_CHECKING:
    from morningai.api.sources.v1.sources_pb2 import Source
    from morningai.cli.gateway import Gateway
    from morningai.cli.output import Output

LARGEST_LIST = 1000
Name = Annotated[str, typer.Argument(metavar="SOURCE", help="Its name, as `source list` shows it.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The git repositories that work is grounded in.", no_args_is_help=True)
    gateway_command(group, "add")(add)
    gateway_command(group, "list")(list_sources)
    credential = typer.Typer(help="What the https remote of a source asks for.", no_args_is_help=True)
    gateway_command(credential, "set")(set_credential)
    gateway_command(credential, "clear")(clear_credential)
    group.add_typer(credential, name="credential")
    app.add_typer(group, name="source")


def add(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(help="3 to 40 of a-z, 0-9 and '-'.")],
    location: Annotated[str, typer.Argument(metavar="[PATH|URL]", help="A local repository, or its URL.")] = ".",
) -> ExitCode:
    """Add a repository, or replace the content of an uploaded one.

    A local repository is uploaded as a git bundle of HEAD: what is not committed is not included.

    \b
    Examples:
      morningai source add shop
      morningai source add shop ~/code/shop
      morningai source add shop https://git.example.org/shop.git
    """
    from morningai.cli.adding import add_remote, is_remote

    source_id = name.removeprefix("sources/")
    with invocation.gateway() as gateway:
        if is_remote(location):
            source = add_remote(gateway, source_id, location)
        else:
            source = _upload(invocation.output, gateway, source_id, location)
    _show(invocation.output, source)
    return ExitCode.SUCCESS


def list_sources(invocation: Invocation) -> ExitCode:
    """List the tenant's sources.

    \b
    Example:
      morningai source list
    """
    from morningai.api.sources.v1 import sources_pb2 as api
    from morningai.cli.listing import all_pages, show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, source_kind

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Source], str]:
            request = api.ListSourcesRequest(page_size=size, page_token=token)
            page = gateway.call(gateway.sources.ListSources, request)
            return list(page.sources), page.next_page_token

        sources = all_pages(fetch, limit=LARGEST_LIST)
    if invocation.output.json_output:
        invocation.output.document({"sources": [message_json(source) for source in sources]})
        return ExitCode.SUCCESS
    rows = [
        (
            source.name.removeprefix("sources/"),
            source_kind(source.kind),
            source.remote_uri or source.repository,
            source.commit[:7],
            str(source.file_count),
            clock(source.update_time),
            source.credential.username,
        )
        for source in sources
    ]
    show_listing(invocation.output, ("name", "kind", "repository", "commit", "files", "updated", "credential"), rows)
    return ExitCode.SUCCESS


def set_credential(
    invocation: Invocation,
    name: Name,
    username: Annotated[str, typer.Option("--username", help="Where the remote wants a certain one.")] = "",
) -> ExitCode:
    """Store the token for a private https remote, in place of the one before. It is asked for, or read from a pipe.

    \b
    Examples:
      morningai source credential set shop
      vault read -field=token git/shop | morningai source credential set shop --username deploy
    """
    from morningai.api.sources.v1 import sources_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.SetSourceCredentialRequest(
        name=resource_name("sources", name), username=username, token=read_secret("token", sys.stdin)
    )
    with invocation.gateway() as gateway:
        source = gateway.call(gateway.sources.SetSourceCredential, request)
    _show_credential(invocation.output, source, f"is fetched as {source.credential.username} from now on.")
    return ExitCode.SUCCESS


def clear_credential(invocation: Invocation, name: Name) -> ExitCode:
    """Delete the credential of a source, if it has one. What was indexed stays.

    \b
    Example:
      morningai source credential clear shop
    """
    from morningai.api.sources.v1 import sources_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.ClearSourceCredentialRequest(name=resource_name("sources", name))
    with invocation.gateway() as gateway:
        source = gateway.call(gateway.sources.ClearSourceCredential, request)
    _show_credential(invocation.output, source, "has no credential.")
    return ExitCode.SUCCESS


def _upload(output: Output, gateway: Gateway, source_id: str, location: str) -> Source:
    from morningai.cli.adding import add_local, find_local

    repository = find_local(location)
    if repository.uncommitted_count:
        count = repository.uncommitted_count
        changes, are = ("uncommitted change", "is") if count == 1 else ("uncommitted changes", "are")
        output.note(f"{count} {changes} in {repository.folder} {are} not included.", "yellow")
    with output.waiting(f"Uploading {repository.folder} at {repository.commit[:7]} …"):
        return add_local(gateway, source_id, repository)


def _show_credential(output: Output, source: Source, said: str) -> None:
    from morningai.cli.output import message_json

    if output.json_output:
        output.document(message_json(source))
    else:
        output.line(f"{source.name} {said}")


def _show(output: Output, source: Source) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import source_kind

    if output.json_output:
        output.document(message_json(source))
        return
    commit = f" @{source.commit[:7]}" if source.commit else ""
    output.line(f"{source.name} · {source_kind(source.kind)} · {source.remote_uri or source.repository}{commit}")
    output.note(f'next: morningai ask "What is the architecture?" --source {source.name.removeprefix("sources/")}')
