"""`approval list|show|approve|reject|delegate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.tasks.v1.approvals_pb2 import Approval
    from morningai.cli.gateway import Gateway
    from morningai.cli.output import Output

Name = Annotated[str, typer.Argument(metavar="APPROVAL", help="approvals/… or the part behind the slash.")]
Etag = Annotated[str, typer.Option("--etag", help="Refuse if the request is not as `show --json` gave it.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What tasks wait for somebody to decide.", no_args_is_help=True)
    gateway_command(group, "list")(list_approvals)
    gateway_command(group, "show")(show)
    gateway_command(group, "approve")(approve)
    gateway_command(group, "reject")(reject)
    gateway_command(group, "delegate")(delegate)
    app.add_typer(group, name="approval")


def list_approvals(
    invocation: Invocation,
    task: Annotated[str, typer.Option("--task", metavar="TASK", help="Those of one task alone.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Those that are decided, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
) -> ExitCode:
    """List what waits for a decision, newest first.

    \b
    Examples:
      morningai approval list
      morningai approval list --all --task 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11 --json
    """
    from morningai.api.tasks.v1 import approvals_pb2 as api
    from morningai.cli.listing import all_pages
    from morningai.cli.output import message_json
    from morningai.cli.wording import resource_name

    state = api.APPROVAL_STATE_UNSPECIFIED if every else api.APPROVAL_STATE_PENDING
    name = resource_name("tasks", task) if task else ""
    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Approval], str]:
            request = api.ListApprovalsRequest(page_size=size, page_token=token, task=name, state=state)
            page = gateway.call(gateway.tasks.ListApprovals, request)
            return list(page.approvals), page.next_page_token

        found = all_pages(fetch, limit=limit)
    if invocation.output.json_output:
        invocation.output.document({"approvals": [message_json(each) for each in found]})
    else:
        _show_list(invocation.output, found)
    return ExitCode.SUCCESS


def show(invocation: Invocation, name: Name) -> ExitCode:
    """Show a request: who asks for what, why, until when, and the diff that would take effect.

    \b
    Example:
      morningai approval show approvals/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.tasks.v1 import approvals_pb2 as api
    from morningai.cli.output import message_json
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.GetApprovalRequest(name=resource_name("approvals", name))
        approval = gateway.call(gateway.tasks.GetApproval, request)
        diff = _diff(gateway, approval)
    if invocation.output.json_output:
        invocation.output.document({**message_json(approval), "diff": diff})
    else:
        _show(invocation.output, approval, diff)
    return ExitCode.SUCCESS


def approve(
    invocation: Invocation,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="For whoever reads it later.")] = "",
    etag: Etag = "",
) -> ExitCode:
    """Let a task do what it asks for.

    \b
    Example:
      morningai approval approve 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.tasks.v1 import approvals_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.ApproveTaskRequest(name=resource_name("approvals", name), reason=reason, etag=etag)
    with invocation.gateway() as gateway:
        decided = gateway.call(gateway.tasks.ApproveTask, request)
    _say(invocation.output, decided, f"Approved. {decided.task} goes on.")
    return ExitCode.SUCCESS


def reject(
    invocation: Invocation,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever asked.")],
    etag: Etag = "",
) -> ExitCode:
    """Let a task go on without what it asks for; its other results stand.

    \b
    Example:
      morningai approval reject 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11 --reason "It misses the new service."
    """
    from morningai.api.tasks.v1 import approvals_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.RejectTaskRequest(name=resource_name("approvals", name), reason=reason, etag=etag)
    with invocation.gateway() as gateway:
        decided = gateway.call(gateway.tasks.RejectTask, request)
    _say(invocation.output, decided, f"Rejected. {decided.task} goes on without it.")
    return ExitCode.SUCCESS


def delegate(
    invocation: Invocation,
    name: Name,
    assignee: Annotated[str, typer.Option("--to", metavar="members/…|apiKeys/…", help="Who alone may decide then.")],
    etag: Etag = "",
) -> ExitCode:
    """Leave a decision to somebody who may approve.

    \b
    Example:
      morningai approval delegate 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11 --to members/0198c1df-0000-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.tasks.v1 import approvals_pb2 as api
    from morningai.cli.wording import resource_name

    request = api.DelegateApprovalRequest(name=resource_name("approvals", name), assignee=assignee, etag=etag)
    with invocation.gateway() as gateway:
        delegated = gateway.call(gateway.tasks.DelegateApproval, request)
    _say(invocation.output, delegated, f"{delegated.assignee} decides about {delegated.name}.")
    return ExitCode.SUCCESS


def _diff(gateway: Gateway, approval: Approval) -> str:
    """Of the document that would be published, or the patch that would be pushed; empty where it is about neither."""
    from morningai.api.changes.v1 import changes_pb2 as changes
    from morningai.api.documents.v1 import documents_pb2 as documents

    if approval.resource.startswith("changes/"):
        return gateway.call(gateway.changes.GetChange, changes.GetChangeRequest(name=approval.resource)).patch
    if not approval.resource.startswith("documents/"):
        return ""
    request = documents.GetDocumentDiffRequest(name=approval.resource, version=approval.version)
    return gateway.call(gateway.documents.GetDocumentDiff, request).diff


def _say(output: Output, approval: Approval, line: str) -> None:
    from morningai.cli.output import message_json

    if output.json_output:
        output.document(message_json(approval))
    else:
        output.line(line)


def _show(output: Output, approval: Approval, diff: str) -> None:
    from morningai.cli.showing import diff_text
    from morningai.cli.wording import approval_state, clock

    output.line(approval.summary, style="bold")
    output.line(f"{approval_state(approval.state)} · {approval.task} · asked by {approval.requester}", style="dim")
    output.line(f"why      {approval.why}")
    output.line(f"asked    {clock(approval.create_time)}")
    output.line(f"expires  {clock(approval.expire_time)}")
    if approval.assignee:
        output.line(f"left to  {approval.assignee}")
    if approval.decider:
        said = f": {approval.reason}" if approval.reason else ""
        output.line(f"decided  {clock(approval.decide_time)} by {approval.decider}{said}")
    if diff:
        output.line()
        output.show(diff_text(diff))


def _show_list(output: Output, approvals: list[Approval]) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.wording import approval_state, clock

    rows = [
        (
            approval.name.removeprefix("approvals/"),
            approval_state(approval.state),
            approval.requester,
            clock(approval.expire_time),
            approval.summary,
        )
        for approval in approvals
    ]
    show_listing(output, ("approval", "state", "asked by", "expires", "summary"), rows)
