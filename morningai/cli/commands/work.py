"""`ask`, `faq` and `change`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command


class AlsoMade(StrEnum):
    FAQ = "faq"
    DOCUMENT = "document"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


Source = Annotated[
    str | None, typer.Option("--source", "-s", metavar="NAME", help="The source; not needed when there is only one.")
]
Importance = Annotated[
    Priority, typer.Option("--priority", help="Among your tenant's queued tasks: higher ones start first.")
]

TimeToLive = Annotated[
    str | None,
    typer.Option("--ttl", metavar="TIME", help="End the task as expired after this time, e.g. 30m or 2d; 28d at most."),
]


def register(app: typer.Typer) -> None:
    gateway_command(app, "ask")(ask)
    gateway_command(app, "faq")(faq)
    gateway_command(app, "change")(change)


def ask(
    invocation: Invocation,
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    source: Source = None,
    also: Annotated[
        list[AlsoMade] | None, typer.Option("--with", help="Also make this, in the same task; may be repeated.")
    ] = None,
    priority: Importance = Priority.NORMAL,
    ttl: TimeToLive = None,
) -> ExitCode:
    """Ask a question; each claim of the answer cites its lines.

    \b
    Examples:
      morningai ask "What is the system architecture?" --source shop
      morningai ask "How are orders stored?" --source shop --with faq --with document
      morningai ask "Which services exist?" --json | jq .answer.claims
    """
    from morningai.cli.work import run_task

    return run_task(invocation, question, source=source, kinds=["answer", *(also or [])], priority=priority, ttl=ttl)


def faq(
    invocation: Invocation,
    topic: Annotated[str, typer.Argument(help="What the questions should be about.")],
    source: Source = None,
    priority: Importance = Priority.NORMAL,
    ttl: TimeToLive = None,
) -> ExitCode:
    """Generate an FAQ whose answers cite their lines.

    \b
    Example:
      morningai faq "installation and configuration" --source shop
    """
    from morningai.cli.work import run_task

    return run_task(invocation, topic, source=source, kinds=["faq"], priority=priority, ttl=ttl)


def change(
    invocation: Invocation,
    instruction: Annotated[str, typer.Argument(help="What should be different.")],
    source: Source = None,
    priority: Importance = Priority.NORMAL,
    ttl: TimeToLive = None,
    deliver: Annotated[
        bool, typer.Option("--deliver", help="Push it as a new branch of the source's remote, once it is verified.")
    ] = False,
    branch: Annotated[
        str, typer.Option("--branch", metavar="NAME", help="With --deliver: the branch; else morningai/<task>.")
    ] = "",
) -> ExitCode:
    """Change code and verify the patch.

    The patch is shown with the state of its verification and the reason for it. A push waits for an approval, unless an
    owner has set that it needs none.

    \b
    Examples:
      morningai change "Fix the failing test of the price calculation" --source shop
      morningai change "Round prices half up" --source shop --json | jq -r .change.patch | git apply
      morningai change "Round prices half up" --source shop --deliver --branch fix/rounding
    """
    from morningai.api.tasks.v1 import tasks_pb2 as api
    from morningai.cli.work import run_task
    from morningai.errors import InvalidInput

    if branch and not deliver:
        raise InvalidInput("--branch", "is given without --deliver.", remedy="Add --deliver to push the change.")
    return run_task(
        invocation,
        instruction,
        source=source,
        kinds=["change"],
        priority=priority,
        ttl=ttl,
        delivery=api.Delivery(branch=branch) if deliver else None,
    )
