"""`policy show|set`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.tenants.v1.policies_pb2 import ApprovalPolicy
    from morningai.cli.output import Output


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What needs somebody's approval in the tenant.", no_args_is_help=True)
    gateway_command(group, "show")(show)
    gateway_command(group, "set")(set_policy)
    app.add_typer(group, name="policy")


def show(invocation: Invocation) -> ExitCode:
    """Show what needs an approval.

    \b
    Example:
      morningai policy show
    """
    from morningai.api.tenants.v1 import policies_pb2 as api

    with invocation.gateway() as gateway:
        policy = gateway.call(gateway.policies.GetApprovalPolicy, api.GetApprovalPolicyRequest())
    _show(invocation.output, policy)
    return ExitCode.SUCCESS


def set_policy(
    invocation: Invocation,
    publishing: Annotated[
        bool | None, typer.Option("--publishing/--no-publishing", help="Before a document is published.")
    ] = None,
    delivery: Annotated[
        bool | None, typer.Option("--delivery/--no-delivery", help="Before a verified change is pushed as a branch.")
    ] = None,
    tokens_per_task: Annotated[
        int | None, typer.Option("--tokens-per-task", min=0, help="Before a task uses more; 0: no limit.")
    ] = None,
    money_per_task: Annotated[
        float | None, typer.Option("--money-per-task", min=0, help="Before a task spends more; 0: no limit.")
    ] = None,
    self_approval: Annotated[
        bool | None,
        typer.Option("--self-approval/--no-self-approval", help="Whether whoever asked may approve it themselves."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="How long a request can be decided, e.g. 12h or 7d.")
    ] = None,
) -> ExitCode:
    """Set what needs an approval; what is not named stays. Only owners may.

    \b
    Examples:
      morningai policy set --publishing --expires 2d
      morningai policy set --tokens-per-task 200000 --no-self-approval
    """
    from google.protobuf.duration_pb2 import Duration

    from morningai.api.tenants.v1 import policies_pb2 as api
    from morningai.cli.duration import parse_duration

    lifetime = parse_duration(expires, option="--expires") if expires is not None else None
    with invocation.gateway() as gateway:
        policy = gateway.call(gateway.policies.GetApprovalPolicy, api.GetApprovalPolicyRequest())
        if publishing is not None:
            policy.publishing = publishing
        if delivery is not None:
            policy.unapproved_delivery = not delivery
        if tokens_per_task is not None:
            policy.tokens_per_task = tokens_per_task
        if money_per_task is not None:
            policy.money_per_task = round(money_per_task * 1_000_000)
        if self_approval is not None:
            policy.self_approval = self_approval
        if lifetime is not None:
            policy.lifetime.CopyFrom(Duration(seconds=int(lifetime.total_seconds())))
        request = api.SetApprovalPolicyRequest(approval_policy=policy)
        stored = gateway.call(gateway.policies.SetApprovalPolicy, request)
    _show(invocation.output, stored)
    return ExitCode.SUCCESS


def _show(output: Output, policy: ApprovalPolicy) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import money

    if output.json_output:
        output.document(message_json(policy))
        return
    hours = policy.lifetime.seconds / 3600
    output.line(f"publishing a document   {'needs an approval' if policy.publishing else 'needs none'}")
    output.line(f"pushing a change        {'needs none' if policy.unapproved_delivery else 'needs an approval'}")
    output.line(f"tokens of a task        {_limit(f'{policy.tokens_per_task:,}', policy.tokens_per_task)}")
    output.line(f"money of a task         {_limit(money(policy.money_per_task), policy.money_per_task)}")
    output.line(
        f"one's own task          {'may be approved' if policy.self_approval else 'is approved by somebody else'}"
    )
    output.line(f"a request expires after {f'{hours / 24:g} days' if hours >= 48 else f'{hours:g} hours'}")


def _limit(text: str, value: int) -> str:
    return f"more than {text} needs an approval" if value else "needs none"
