"""A change as one commit and one branch of a real remote, by compare-and-set."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from morningai.errors import InvalidInput, StepFailure, Unavailable
from services.docs.domain import Credential
from services.docs.git.commit import Commit, commit_message, make_commit
from services.docs.git.push import push_branch
from services.docs.git.remote import fetch_remote
from services.docs.git.store import GitStore

TOKEN = "glpat-+hush/hush=0123"
BRANCH = "morningai/greeting"
TIME = datetime(2026, 11, 27, 16, 30, tzinfo=UTC)
MESSAGE = commit_message("Say hello.", task="tasks/1", trace_id="ab", change="changes/2")
PATCH = """\
diff --git a/greet.py b/greet.py
--- a/greet.py
+++ b/greet.py
@@ -1,2 +1,2 @@
 def greet(name):
-    return f'hi {name}'
+    return f'hello {name}'
"""


def change_of(project, patch=PATCH):
    return Commit(project.git("rev-parse", "HEAD"), patch, MESSAGE, TIME)


@pytest.fixture
async def made(project, server, store):
    """The commit of the change, in a store that was fetched from the server."""
    await fetch_remote(server.remote("project"), store, server.access())
    return await make_commit(store, change_of(project))


async def send(server, store, commit, branch=BRANCH, path="project", credential=None):
    await push_branch(server.remote(path), store, server.access(), commit=commit, branch=branch, credential=credential)


def branches(project):
    return dict(
        line.split(" ")
        for line in project.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
        if line
    )


async def test_a_change_becomes_a_branch_with_one_commit(project, server, store, made):
    main = project.git("rev-parse", "main")
    await send(server, store, made)
    assert branches(project) == {"main": main, BRANCH: made}
    assert project.git("rev-parse", f"{made}^") == main
    assert project.git("show", f"{made}:greet.py") == "def greet(name):\n    return f'hello {name}'"
    assert project.git("diff", "--name-only", main, made) == "greet.py"
    assert project.git("log", "-1", "--format=%an <%ae>|%cn|%aI|%cI|%B", made).split("|") == [
        "MorningAI <morningai@users.noreply.invalid>",
        "MorningAI",
        "2026-11-27T16:30:00+00:00",
        "2026-11-27T16:30:00+00:00",
        MESSAGE.strip(),
    ]


async def test_two_stores_make_the_same_commit_of_the_same_change(project, server, tmp_path, made):
    other = GitStore(tmp_path / "stores" / "other.git")
    await other.create()
    await fetch_remote(server.remote("project"), other, server.access())
    assert await make_commit(other, change_of(project)) == made


async def test_pushed_twice_it_is_one_branch(project, server, store, made):
    await send(server, store, made)
    before = branches(project)
    await send(server, store, made)
    assert branches(project) == before


async def test_pushed_by_several_at_once_it_is_one_branch(project, server, store, tmp_path, made):
    stores = [store]
    for number in range(3):
        other = GitStore(tmp_path / "stores" / f"{number}.git")
        await other.create()
        await fetch_remote(server.remote("project"), other, server.access())
        assert await make_commit(other, change_of(project)) == made
        stores.append(other)
    await asyncio.gather(*(send(server, each, made) for each in stores))
    assert branches(project)[BRANCH] == made


async def test_a_branch_with_another_commit_is_left_as_it_is(project, server, store, made):
    project.git("branch", BRANCH, "v1")
    before = branches(project)
    with pytest.raises(StepFailure, match=f"has the branch {BRANCH} already") as refused:
        await send(server, store, made)
    assert (refused.value.reason, branches(project)) == ("branch_exists", before)
    assert refused.value.remedy == "Ask again with the name of a branch that is not there."


async def test_a_branch_whose_only_difference_is_newer_work_on_top_is_left_as_it_is(project, server, store, made):
    await send(server, store, made)
    project.git("checkout", "--quiet", BRANCH)
    newer = project.commit({"more.txt": "more\n"})
    with pytest.raises(StepFailure) as refused:
        await send(server, store, made)
    assert (refused.value.reason, branches(project)[BRANCH]) == ("branch_exists", newer)


@pytest.fixture
def private(server):
    server.username, server.token = "deploy", TOKEN
    return server


async def test_a_private_remote_is_pushed_to_with_its_credential(project, private, store, made):
    await send(private, store, made, path="private", credential=Credential("deploy", TOKEN))
    assert branches(project)[BRANCH] == made
    assert private.authorizations[-1] == private.expected
    shown = b"\n".join(private.processes)
    assert b"git-remote-https" in shown
    assert TOKEN.encode() not in shown


async def test_a_credential_that_may_only_read_is_said_to(project, private, store, made):
    private.is_read_only = True
    with pytest.raises(StepFailure, match="does not let the stored credential push") as refused:
        await send(private, store, made, path="private", credential=Credential("deploy", TOKEN))
    assert refused.value.reason == "push_refused"
    assert "morningai source credential set" in refused.value.remedy
    assert TOKEN not in f"{refused.value} {refused.value.__cause__.error_output}"
    assert BRANCH not in branches(project)


async def test_a_remote_that_wants_a_credential_says_so(private, store, made):
    with pytest.raises(StepFailure, match="wants a credential to push") as refused:
        await send(private, store, made, path="private")
    assert refused.value.reason == "push_refused"


async def test_what_the_rules_of_the_remote_decline_is_said(project, server, store, made):
    hook = project.folder / ".git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'no robots' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(StepFailure, match="declines the branch") as refused:
        await send(server, store, made)
    assert (refused.value.reason, BRANCH in branches(project)) == ("push_declined", False)


async def test_a_remote_that_does_not_answer_is_asked_again_later(server, store, made):
    gone = server.remote("project")
    access = server.access()
    unused = type(gone)(uri=gone.uri.replace(str(gone.port), "1"), scheme="https", host=gone.host, port=1, user="")
    with pytest.raises(Unavailable):
        await push_branch(unused, store, access, commit=made, branch=BRANCH, credential=None)


async def test_a_host_that_the_guard_refuses_is_not_pushed_to(server, store, made):
    access = type(server.access())()
    with pytest.raises(InvalidInput, match="host"):
        await push_branch(server.remote("project"), store, access, commit=made, branch=BRANCH, credential=None)
    assert not [path for path in server.requests if "receive-pack" in path]


async def test_a_redirect_is_not_followed(server, store, made):
    with pytest.raises(StepFailure) as refused:
        await send(server, store, made, path="moved")
    assert refused.value.reason == "push_failed"


async def test_a_patch_that_does_not_apply_makes_no_commit(project, store, made):
    with pytest.raises(StepFailure) as refused:
        await make_commit(store, change_of(project, PATCH.replace("hi {name}", "good day {name}")))
    assert refused.value.reason == "patch_does_not_apply"


WRONG = ["-x", "a..b", "a//b", "a/.b", "a.lock", "a/", "HEAD", "refs/heads/a", "a b", "a:b", "+a", "a~1", "ü", ""]


@pytest.mark.parametrize("branch", WRONG)
async def test_a_name_that_is_no_branch_s_is_pushed_nowhere(server, store, made, branch):
    with pytest.raises(InvalidInput, match="no name of a branch"):
        await send(server, store, made, branch=branch)
    assert not [path for path in server.requests if "receive-pack" in path]


def test_a_long_instruction_has_a_short_subject_and_is_kept_whole():
    instruction = "Round the prices of all orders half up, " * 5 + "\x00\x1b[31m"
    message = commit_message(instruction, task="tasks/1", trace_id="ab", change="changes/2")
    subject, _, rest = message.partition("\n\n")
    assert len(subject) <= 72
    assert rest.endswith("\n\nTask: tasks/1\nTrace: ab\nChange: changes/2\n")
    assert "\x1b" not in message
