"""`dead-letter list|show|replay|drop`, and for the operator `dead-letter list-all|drop-quarantined`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from morningai.api.tenants.v1.dead_letters_pb2 import DeadLetter, DeadLetterFilter
    from morningai.cli.output import Output


class State(StrEnum):
    BURIED = "buried"
    REPLAYED = "replayed"
    DROPPED = "dropped"


Name = Annotated[str, typer.Argument(metavar="LETTER", help="deadLetters/… or the part behind the slash.")]
Service = Annotated[str, typer.Option("--service", help="Only of this one, e.g. orchestrator.")]
InState = Annotated[State | None, typer.Option("--state", help="Only in this one.")]
Why = Annotated[str, typer.Option("--why", help="Why the message can be done without; it is kept.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10000, help="How many, newest first.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Messages between the services that could not be handled.", no_args_is_help=True)
    gateway_command(group, "list")(list_letters)
    gateway_command(group, "show")(show)
    gateway_command(group, "replay")(replay)
    gateway_command(group, "drop")(drop)
    gateway_command(group, "list-all", principal="operator")(list_all)
    gateway_command(group, "drop-quarantined", principal="operator")(drop_quarantined)
    app.add_typer(group, name="dead-letter")


def list_letters(invocation: Invocation, service: Service = "", state: InState = None, limit: Limit = 50) -> ExitCode:
    """List the tenant's dead letters, newest first.

    \b
    Examples:
      morningai dead-letter list --state buried
      morningai dead-letter list --service orchestrator
    """
    from morningai.api.tenants.v1 import dead_letters_pb2 as api
    from morningai.cli.listing import all_pages

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[DeadLetter], str]:
            request = api.ListDeadLettersRequest(page_size=size, page_token=token, filter=_filter(service, state))
            page = gateway.call(gateway.dead_letters.ListDeadLetters, request)
            return list(page.dead_letters), page.next_page_token

        letters = all_pages(fetch, limit=limit)
    _show_all(invocation.output, letters)
    return ExitCode.SUCCESS


def show(invocation: Invocation, name: Name) -> ExitCode:
    """Show a dead letter: why it could not be handled, its trace, and what it says.

    \b
    Example:
      morningai dead-letter show orchestrator-replies.0198c0de-0000-7000-8000-000000000000
    """
    from morningai.api.tenants.v1 import dead_letters_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.GetDeadLetterRequest(name=resource_name("deadLetters", name))
        letter = gateway.call(gateway.dead_letters.GetDeadLetter, request)
    _show(invocation.output, letter)
    return ExitCode.SUCCESS


def replay(invocation: Invocation, name: Name) -> ExitCode:
    """Have a message delivered again, once what was wrong is put right. It takes effect once.

    If it fails again, it is a dead letter again.

    \b
    Example:
      morningai dead-letter replay orchestrator-replies.0198c0de-0000-7000-8000-000000000000
    """
    from morningai.api.tenants.v1 import dead_letters_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.ReplayDeadLetterRequest(name=resource_name("deadLetters", name))
        letter = gateway.call(gateway.dead_letters.ReplayDeadLetter, request)
    _show(invocation.output, letter)
    return ExitCode.SUCCESS


def drop(invocation: Invocation, name: Name, why: Why) -> ExitCode:
    """Give a message up, for good. Who did and why is kept with it and in the audit log.

    \b
    Example:
      morningai dead-letter drop orchestrator-replies.0198c0de-0000-7000-8000-000000000000 --why "the task was repeated"
    """
    from morningai.api.tenants.v1 import dead_letters_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.DropDeadLetterRequest(name=resource_name("deadLetters", name), why=why)
        letter = gateway.call(gateway.dead_letters.DropDeadLetter, request)
    _show(invocation.output, letter)
    return ExitCode.SUCCESS


def list_all(
    invocation: Invocation,
    service: Service = "",
    state: InState = None,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Only those that prove no tenant.")] = False,
    limit: Limit = 50,
) -> ExitCode:
    """List the dead letters of all tenants, and those that prove no tenant, without what they say.

    \b
    Example:
      morningai dead-letter list-all --quarantined
    """
    from morningai.api.tenants.v1 import dead_letters_pb2 as api
    from morningai.cli.listing import all_pages

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[DeadLetter], str]:
            request = api.ListAllDeadLettersRequest(
                page_size=size, page_token=token, filter=_filter(service, state), quarantined=quarantined
            )
            page = gateway.call(gateway.dead_letters.ListAllDeadLetters, request)
            return list(page.dead_letters), page.next_page_token

        letters = all_pages(fetch, limit=limit)
    _show_all(invocation.output, letters, of_tenants=True)
    return ExitCode.SUCCESS


def drop_quarantined(invocation: Invocation, name: Name, why: Why) -> ExitCode:
    """Give up a message that proves no tenant. It can never be delivered.

    \b
    Example:
      morningai dead-letter drop-quarantined docs-work.0198c0de-0000-7000-8000-000000000000 --why "sent by a test"
    """
    from morningai.api.tenants.v1 import dead_letters_pb2 as api
    from morningai.cli.wording import resource_name

    full_name = resource_name("deadLetters", name)
    with invocation.gateway() as gateway:
        request = api.DropQuarantinedDeadLetterRequest(name=full_name, why=why)
        gateway.call(gateway.dead_letters.DropQuarantinedDeadLetter, request)
    if invocation.output.json_output:
        invocation.output.document({"name": full_name, "state": "DEAD_LETTER_STATE_DROPPED"})
    else:
        invocation.output.line(f"dropped {full_name}")
    return ExitCode.SUCCESS


def _filter(service: str, state: State | None) -> DeadLetterFilter:
    from morningai.api.tenants.v1 import dead_letters_pb2 as api

    wanted = api.DeadLetterFilter(service=service)
    if state:
        wanted.state = api.DeadLetterState.Value(f"DEAD_LETTER_STATE_{state.upper()}")
    return wanted


def _show_all(output: Output, letters: Sequence[DeadLetter], *, of_tenants: bool = False) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, dead_letter_state

    if output.json_output:
        output.document({"dead_letters": [message_json(letter) for letter in letters]})
        return
    columns = ("letter", "buried", "message", "reason", "state", "trace", *(("tenant",) if of_tenants else ()))
    rows = [
        (
            letter.name.removeprefix("deadLetters/"),
            clock(letter.bury_time),
            letter.message_type.rpartition(".")[2],
            letter.reason,
            dead_letter_state(letter.state),
            letter.trace_id,
            *((letter.tenant.removeprefix("tenants/") or "none",) if of_tenants else ()),
        )
        for letter in letters
    ]
    show_listing(output, columns, rows)


def _show(output: Output, letter: DeadLetter) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, dead_letter_state

    if output.json_output:
        output.document(message_json(letter))
        return
    decided = f"{dead_letter_state(letter.state)} {clock(letter.decide_time)} {letter.decider}".rstrip()
    lines = {
        "letter": letter.name,
        "message": f"{letter.message_type.rpartition('.')[2]} to {letter.service}",
        "reason": f"{letter.reason} after {letter.deliveries} deliveries",
        "error": letter.error,
        "buried": clock(letter.bury_time),
        "state": f"{decided}: {letter.why}" if letter.why else decided,
        "task": letter.task,
        "trace": letter.trace_id,
    }
    for label, text in lines.items():
        if text:
            output.line(f"{label.ljust(8)} {text}")
    if letter.content:
        output.line()
        output.line(letter.content)
