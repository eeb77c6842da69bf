"""`audit list|export|operators`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from morningai.api.tenants.v1.audit_pb2 import AuditEntry, AuditFilter
    from morningai.cli.output import Output


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    REFUSED = "refused"


Action = Annotated[str, typer.Option("--action", help="Only this one, e.g. keys.create.")]
Principal = Annotated[str, typer.Option("--principal", help="Only by this one, e.g. key:mk_0123456789abcdef.")]
Since = Annotated[str, typer.Option("--since", help="Only of the last e.g. 12h or 30d.")]


WithOutcome = Annotated[Outcome | None, typer.Option("--outcome", help="Only with this one.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10000, help="How many, newest first.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What was administered in the tenant, by whom.", no_args_is_help=True)
    gateway_command(group, "list")(list_entries)
    gateway_command(group, "export")(export)
    gateway_command(group, "operators", principal="operator")(list_operator_entries)
    app.add_typer(group, name="audit")


def list_entries(
    invocation: Invocation,
    action: Action = "",
    principal: Principal = "",
    since: Since = "",
    outcome: WithOutcome = None,
    limit: Limit = 50,
) -> ExitCode:
    """List the audit log, newest first; refused calls too.

    \b
    Examples:
      morningai audit list
      morningai audit list --action keys.create --since 7d
      morningai audit list --outcome refused
    """
    from morningai.api.tenants.v1 import audit_pb2 as api
    from morningai.cli.listing import all_pages

    wanted = _filter(action, principal, since, outcome)
    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[AuditEntry], str]:
            request = api.ListAuditEntriesRequest(page_size=size, page_token=token, filter=wanted)
            page = gateway.call(gateway.audit.ListAuditEntries, request)
            return list(page.entries), page.next_page_token

        entries = all_pages(fetch, limit=limit)
    _show(invocation.output, entries)
    return ExitCode.SUCCESS


def list_operator_entries(invocation: Invocation, limit: Limit = 50) -> ExitCode:
    """List what operators did outside all tenants, such as setting prices, newest first.

    What they did to a tenant is in that tenant's log.

    \b
    Example:
      morningai audit operators
    """
    from morningai.api.tenants.v1 import audit_pb2 as api
    from morningai.cli.listing import all_pages

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[AuditEntry], str]:
            request = api.ListOperatorEntriesRequest(page_size=size, page_token=token)
            page = gateway.call(gateway.audit.ListOperatorEntries, request)
            return list(page.entries), page.next_page_token

        entries = all_pages(fetch, limit=limit)
    _show(invocation.output, entries)
    return ExitCode.SUCCESS


def export(
    invocation: Invocation,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="A new file; '-' is standard output.")] = "-",
    action: Action = "",
    principal: Principal = "",
    since: Since = "",
    outcome: WithOutcome = None,
) -> ExitCode:
    """Write the audit log as JSON lines, oldest first.

    \b
    Examples:
      morningai audit export audit.jsonl
      morningai audit export --since 30d | jq -r .action
    """
    from morningai.api.tenants.v1 import audit_pb2 as api

    with invocation.gateway() as gateway:
        request = api.ExportAuditEntriesRequest(filter=_filter(action, principal, since, outcome))
        stream = gateway.stream(gateway.audit.ExportAuditEntries, request)
        lines = (_line(response.entry) for response in stream)
        if file == "-":
            _print(lines)
            return ExitCode.SUCCESS
        count = _write(lines, file)
    if invocation.output.json_output:
        invocation.output.document({"file": file, "entries": count})
    else:
        invocation.output.line(f"{count} entries in {file}")
    return ExitCode.SUCCESS


def _show(output: Output, entries: list[AuditEntry]) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import audit_outcome, clock

    if output.json_output:
        output.document({"entries": [message_json(entry) for entry in entries]})
        return
    rows = [
        (clock(entry.create_time), entry.action, entry.resource, entry.principal, audit_outcome(entry.outcome))
        for entry in entries
    ]
    show_listing(output, ("time", "action", "resource", "principal", "outcome"), rows)


def _filter(action: str, principal: str, since: str, outcome: Outcome | None) -> AuditFilter:
    from datetime import UTC, datetime

    from morningai.api.tenants.v1 import audit_pb2 as api
    from morningai.cli.duration import parse_duration

    wanted = api.AuditFilter(action=action, principal=principal)
    if outcome:
        wanted.outcome = api.AuditOutcome.Value(f"AUDIT_OUTCOME_{outcome.upper()}")
    if since:
        wanted.start_time.FromDatetime(datetime.now(UTC) - parse_duration(since, option="--since"))
    return wanted


def _line(entry: AuditEntry) -> str:
    import json

    from morningai.cli.output import message_json

    return json.dumps(message_json(entry)) + "\n"


def _print(lines: Iterator[str]) -> None:
    import sys

    for line in lines:
        sys.stdout.write(line)


def _write(lines: Iterator[str], file: str) -> int:
    """Raises InvalidInput for a file that cannot be made; what was begun and broke off is removed."""
    import os
    from pathlib import Path

    from morningai.errors import InvalidInput

    path = Path(file)
    try:
        opened = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            "FILE", f"{file}: {error.strerror}.", remedy="Name a file that does not exist yet."
        ) from error
    try:
        with opened:
            return sum(1 for line in lines if opened.write(line))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
