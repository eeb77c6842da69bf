"""A change from its task to a branch in a bare repository, which git itself is asked about."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import policies_pb2 as policies
from morningai.testing.model_script import ScriptedReply
from tests.e2e.model import ScriptedModel
from tests.e2e.platform import Tenant, eventually
from tests.e2e.replies import ADDS, edit
from tests.e2e.repositories import calculator, git, make_repository
from tests.git_server import ADDRESS, GitServer

pytestmark = pytest.mark.xdist_group("shared")

RIGHT = edit("calculator.py", "    return a - b", ADDS)


def add_source(tenant: Tenant, forge: GitServer) -> str:
    remote = sources.Source(remote_uri=f"https://{ADDRESS}:{forge.port}/private")
    calls = tenant.gateway.sources
    source = tenant.gateway.call(
        calls.CreateSource, sources.CreateSourceRequest(source_id="shop", source=remote), repeatable=False
    )
    tenant.gateway.call(
        calls.SetSourceCredential, sources.SetSourceCredentialRequest(name=source.name, token=forge.token)
    )
    return source.name


def request_change(tenant: Tenant, word: str, source: str) -> str:
    task = tasks.Task(
        instruction=f"Make the tests of {word} pass.",
        source=source,
        kinds=[tasks.TASK_KIND_CHANGE],
        delivery=tasks.Delivery(),
    )
    request = tasks.CreateTaskRequest(task=task, request_id=str(uuid4()))
    return tenant.gateway.call(tenant.gateway.tasks.CreateTask, request).name


def branches(bare: Path) -> dict[str, str]:
    lines = git(bare, "for-each-ref", "--format=%(refname:short) %(objectname)").splitlines()
    return {line.split(" ")[0]: line.split(" ")[1] for line in lines}


def test_a_verified_change_is_a_branch_of_its_remote_once_it_was_approved(
    tenant: Tenant, model: ScriptedModel, word: str, forge: GitServer, tmp_path: Path
) -> None:
    model.teach(word, replies=(ScriptedReply(content=RIGHT),))
    bare = forge.certificate_file.parent / "shop.git"
    own = make_repository(tmp_path / "shop", calculator(word))
    git(own, "push", "--quiet", str(bare), "main")
    base = git(own, "rev-parse", "HEAD")
    policy = policies.SetApprovalPolicyRequest(approval_policy=policies.ApprovalPolicy(self_approval=True))
    tenant.gateway.call(tenant.gateway.policies.SetApprovalPolicy, policy)
    calls = tenant.gateway.tasks

    name = request_change(tenant, word, add_source(tenant, forge))
    waiting = tasks.TASK_STATE_WAITING_FOR_APPROVAL
    eventually(f"{name} waits", lambda: tenant.get(name).state == waiting)
    (asked,) = tenant.gateway.call(calls.ListApprovals, approvals.ListApprovalsRequest(task=name)).approvals
    assert asked.kind == approvals.APPROVAL_KIND_DELIVERY
    patch = tenant.gateway.call(tenant.gateway.changes.GetChange, changes.GetChangeRequest(name=asked.resource)).patch
    assert f"+{ADDS}" in patch
    assert branches(bare) == {"main": base}

    tenant.gateway.call(calls.ApproveTask, approvals.ApproveTaskRequest(name=asked.name, etag=asked.etag))
    ended = tenant.ended(name)
    assert ended.state == tasks.TASK_STATE_SUCCEEDED, ended
    branch = f"morningai/{name.removeprefix('tasks/')}"
    assert ended.delivery.branch == branch
    assert branches(bare) == {"main": base, branch: ended.delivery.commit}
    assert git(bare, "rev-parse", f"{branch}^") == base
    assert git(bare, "diff", "--name-only", base, branch) == "calculator.py"
    trailers = git(bare, "log", "-1", "--format=%(trailers)", branch).splitlines()
    assert trailers == [f"Task: {name}", f"Trace: {ended.trace_id}", f"Change: {asked.resource}"]
    git(own, "fetch", "--quiet", str(bare), branch)
    git(own, "checkout", "--quiet", "FETCH_HEAD")
    assert ADDS in (own / "calculator.py").read_text()
