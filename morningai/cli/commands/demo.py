"""`demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, local_command


def register(app: typer.Typer) -> None:
    local_command(app, "demo", json_option=False)(demo)


def demo(
    invocation: Invocation,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Keep the platform's data here.  [default: a temporary folder]"),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="PATH", help="Also write the whole result to this file.")
    ] = None,
) -> ExitCode:
    """Show everything on the repository you are in, then stop.

    Starts the platform, installs the local model, asks for an answer, an FAQ and a document, then for the fix of a
    failing test in a small repository of its own. With OPENAI_BASE_URL that endpoint is used; MODEL=extractive uses
    no model at all.

    \b
    Examples:
      morningai demo
      MODEL=extractive morningai demo --json result.json
    """
    from morningai.cli.demo.run import DemoOptions, run_demo

    return run_demo(invocation.output, DemoOptions(Path.cwd(), data_dir, json_path))
