"""`usage show`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.tenants.v1.usage_pb2 import UsageRow

COLUMNS = ("calls", "in full", "prompt tokens", "answer tokens", "money")


class Group(StrEnum):
    DAY = "day"
    MONTH = "month"
    TASK = "task"
    MODEL = "model"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What model calls cost.", no_args_is_help=True)
    gateway_command(group, "show")(show)
    app.add_typer(group, name="usage")


def show(
    invocation: Invocation,
    by: Annotated[Group, typer.Option("--by", help="What to sum up by.")] = Group.DAY,
    start: Annotated[str, typer.Option("--from", metavar="DATE", help="First day, UTC; else that of the month.")] = "",
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="Last day, UTC; else today.")] = "",
) -> ExitCode:
    """Show the calls, tokens and money of your tenant's tasks.

    Calls in full are those whose outcome is unknown: they are charged with all that was reserved.

    \b
    Examples:
      morningai usage show
      morningai usage show --by task --from 2026-11-01 --to 2026-11-30
    """
    from morningai.api.tenants.v1 import usage_pb2 as api
    from morningai.cli.listing import show_listing
    from morningai.cli.output import message_json

    group = api.UsageGroup.Value(f"USAGE_GROUP_{by.name}")
    with invocation.gateway() as gateway:
        request = api.GetUsageRequest(group=group, start_date=start, end_date=end)
        used = gateway.call(gateway.usage.GetUsage, request)
    if invocation.output.json_output:
        invocation.output.document(message_json(used))
        return ExitCode.SUCCESS
    show_listing(invocation.output, (str(by), *COLUMNS), [_cells(row) for row in (*used.rows, used.total)])
    return ExitCode.SUCCESS


def _cells(row: UsageRow) -> tuple[str, ...]:
    from morningai.cli.wording import money

    tokens = (f"{row.prompt_tokens:,}", f"{row.completion_tokens:,}")
    return (row.key, str(row.calls), str(row.calls_in_full), *tokens, money(row.money_micros))
