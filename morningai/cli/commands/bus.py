"""`bus rebuild`: for whoever runs the database, past the gateway."""

from __future__ import annotations

import typer

from morningai.cli.admin import DATA_DIR, admin_dsn
from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, local_command


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The bus between the services, which can be lost.", no_args_is_help=True)
    local_command(group, "rebuild")(rebuild)
    app.add_typer(group, name="bus")


def rebuild(invocation: Invocation, data_dir: DATA_DIR = None) -> ExitCode:
    """Send again what the services have sent and nobody has received, at once.

    For a bus that came back with less than it had, such as a restored backup. A bus that lost its streams gets them
    back by itself, and this is done then. What arrives twice takes effect once.

    \b
    Example:
      morningai bus rebuild
    """
    from morningai.bus.losses import rebuild as send_again

    count = send_again(admin_dsn(data_dir))
    if invocation.output.json_output:
        invocation.output.document({"messages_sent_again": count})
    else:
        invocation.output.line(f"{count:,} message{'' if count == 1 else 's'} will be sent again.")
    return ExitCode.SUCCESS
