"""`doc list` and `doc show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.documents.v1.documents_pb2 import Document
    from morningai.cli.output import Output


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Documents with immutable versions.", no_args_is_help=True)
    gateway_command(group, "list")(list_documents)
    gateway_command(group, "show")(show)
    app.add_typer(group, name="doc")


def list_documents(
    invocation: Invocation,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
) -> ExitCode:
    """List the tenant's documents, newest first.

    \b
    Example:
      morningai doc list
    """
    from morningai.api.documents.v1 import documents_pb2 as api
    from morningai.cli.listing import all_pages
    from morningai.cli.output import message_json

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Document], str]:
            request = api.ListDocumentsRequest(page_size=size, page_token=token)
            page = gateway.call(gateway.documents.ListDocuments, request)
            return list(page.documents), page.next_page_token

        documents = all_pages(fetch, limit=limit)
    if invocation.output.json_output:
        invocation.output.document({"documents": [message_json(document) for document in documents]})
    else:
        _show_list(invocation.output, documents)
    return ExitCode.SUCCESS


def show(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(metavar="DOCUMENT", help="documents/… or the part behind the slash.")],
    version: Annotated[int, typer.Option("--version", min=0, help="0: the newest.")] = 0,
) -> ExitCode:
    """Print a document with its metadata block.

    \b
    Examples:
      morningai doc show documents/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
      morningai doc show 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11 --version 2 --json | jq -r .content > architecture.md
    """
    from morningai.api.documents.v1 import documents_pb2 as api
    from morningai.cli.output import message_json
    from morningai.cli.showing import show_document
    from morningai.cli.wording import resource_name

    request = api.GetDocumentRequest(name=resource_name("documents", name), version=version)
    with invocation.gateway() as gateway:
        document = gateway.call(gateway.documents.GetDocument, request)
    if invocation.output.json_output:
        invocation.output.document(message_json(document))
    else:
        show_document(invocation.output, document)
    return ExitCode.SUCCESS


def _show_list(output: Output, documents: list[Document]) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.wording import clock

    rows = [
        (
            document.name.removeprefix("documents/"),
            str(document.version),
            document.source.removeprefix("sources/"),
            clock(document.update_time),
            document.title,
        )
        for document in documents
    ]
    show_listing(output, ("document", "version", "source", "updated", "title"), rows)
