"""The command `morningai`: its commands, and the end of the process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

import typer
from typer._click import exceptions as bad_usage  # typer carries click inside and gives these no other name

from morningai.cli.commands import (
    approval,
    audit,
    bus,
    dead_letter,
    demo,
    document,
    events,
    key,
    limits,
    member,
    model,
    policy,
    proof_key,
    schedule,
    source,
    task,
    tenant,
    trace,
    up,
    usage,
    webhook,
    work,
)
from morningai.cli.exit_code import EXIT_CODES_HELP, ExitCode
from morningai.cli.output import Output
from morningai.cli.problem import Problem

HELP = """Ask a repository and get answers with citations, documentation that stays true, and verified code changes.

\b
Start:
  morningai up                           starts the platform on this machine
  morningai tenant create acme           a tenant and its key
  morningai source add shop ~/code/shop  a git repository
  morningai ask "What is the system architecture?" --source shop

The platform is found through --address or MORNINGAI_ADDRESS, else through the data folder of a running `morningai up`;
the key is --key or MORNINGAI_API_KEY, else the one that `tenant create` kept."""


def make_app() -> typer.Typer:
    app = typer.Typer(
        name="morningai",
        help=HELP,
        epilog=EXIT_CODES_HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_no_options)
    administration = (tenant, member, key, policy, limits, usage, audit, dead_letter)
    work_commands = (source, work, task, schedule, approval, document, events, webhook)
    for commands in (up, *work_commands, *administration, trace, model, bus, proof_key, demo):
        commands.register(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """The exit code; everything else was said on standard output and standard error."""
    try:
        result = typer.main.get_command(make_app()).main(list(arguments), prog_name="morningai", standalone_mode=False)
    except bad_usage.ClickException as error:
        return _bad_usage(error, json_output="--json" in arguments)
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return int(result or 0)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.FAILED
        with contextlib.suppress(OSError):  # what is still buffered has no reader either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _no_options() -> None:
    pass


def _bad_usage(error: bad_usage.ClickException, *, json_output: bool) -> int:
    context = error.ctx if isinstance(error, bad_usage.UsageError) else None
    if isinstance(error, bad_usage.NoArgsIsHelpError):
        typer.echo(error.format_message(), err=True)
        return ExitCode.BAD_INPUT
    parameter = error.param if isinstance(error, bad_usage.BadParameter) else None
    command = context.command_path if context else "morningai"
    problem = Problem(
        error.format_message(),
        ExitCode.BAD_INPUT,
        reason="BAD_USAGE",
        field=" / ".join(parameter.opts) if parameter else "",
        next_step=f"{command} --help",
    )
    Output(json_output=json_output).problem(problem)
    return ExitCode.BAD_INPUT
