"""`up`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, local_command


def register(app: typer.Typer) -> None:
    local_command(app, "up")(up)


def up(
    invocation: Invocation,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="MORNINGAI_DATA_DIR", help="Where everything is kept."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The gateway's port on loopback.")] = 50051,
    timings: Annotated[bool, typer.Option("--timings", help="Print how long each part took to start.")] = False,
    model: Annotated[
        bool, typer.Option("--model/--no-model", help="Use a model; without one the extractive engine answers.")
    ] = True,
) -> ExitCode:
    """Start the platform on this machine; Ctrl-C stops it.

    These are PostgreSQL, NATS, the six services, and the local model where it is installed.

    With --json each event is one line of JSON; the line with "event": "ready" says where the gateway is.

    \b
    Examples:
      morningai up
      morningai up --data-dir ./morningai-data --port 50100 --timings
      morningai up --no-model
    """
    import asyncio

    from morningai.embedded.up import UpOptions, up

    options = UpOptions(
        data_dir=data_dir,
        port=port,
        json_output=invocation.output.json_output,
        timings=timings,
        local_model=model,
    )
    return ExitCode(asyncio.run(up(options)))
