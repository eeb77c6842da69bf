"""Pushes one commit as a new branch, by compare-and-set: the branch is not there before, or is this very commit.

Invariant: whoever pushes the same commit again, or at the same time, finds it there; another commit is never replaced.
"""

from __future__ import annotations

from morningai.branch import parse_branch
from morningai.errors import InvalidInput, MorningAIError, StepFailure, Unavailable
from services.docs.domain import Credential, Remote
from services.docs.git.process import GitFailed, GitOutputTooLarge, GitTimedOut
from services.docs.git.remote import REFUSALS, RemoteAccess, explain, run_against
from services.docs.git.store import GitStore

_DECLINED = ("hook declined", "remote rejected", "protected branch", "deny updating")
_NOT_WRITABLE = (*REFUSALS, "permission denied", "write access", "not enabled", "read-only", "read only")


async def push_branch(
    remote: Remote, store: GitStore, access: RemoteAccess, *, commit: str, branch: str, credential: Credential | None
) -> None:
    """Raises StepFailure with a reason a person can act on, InvalidInput, and Unavailable when another try may help."""
    ref = f"refs/heads/{parse_branch(branch, field='branch')}"
    arguments = (
        "push", "--quiet", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed", "--atomic",
        f"--force-with-lease={ref}:", "--end-of-options", remote.uri, f"{commit}:{ref}",
    )  # fmt: skip
    try:
        await run_against(remote, store, access, *arguments, credential=credential)
    except GitFailed as error:
        there = await _commit_of(ref, remote, store, access, credential)
        if there != commit:
            raise _explain(error, remote, branch, there=there, with_credential=credential is not None) from error
    except (GitTimedOut, GitOutputTooLarge) as error:
        raise Unavailable(f"Pushing to {remote.uri} took more than {store.limits.timeout_seconds:.0f} s.") from error


async def _commit_of(
    ref: str, remote: Remote, store: GitStore, access: RemoteAccess, credential: Credential | None
) -> str:
    """What the remote has there; empty for nothing, and where it does not say."""
    try:
        output = await run_against(
            remote, store, access, "ls-remote", "--refs", "--end-of-options", remote.uri, ref, credential=credential
        )
    except (GitFailed, GitTimedOut, GitOutputTooLarge):
        return ""
    return output.decode("ascii", "replace").partition("\t")[0]


def _explain(error: GitFailed, remote: Remote, branch: str, *, there: str, with_credential: bool) -> MorningAIError:
    written = error.error_output.lower()
    if there:
        return StepFailure(
            "branch_exists",
            f"{remote.uri} has the branch {branch} already, at {there[:10]}.",
            remedy="Ask again with the name of a branch that is not there.",
        )
    if any(phrase in written for phrase in _DECLINED):
        return StepFailure(
            "push_declined",
            f"{remote.host} declines the branch {branch} ({_said(error)}).",
            remedy="Ask again with a branch that its rules allow.",
        )
    if any(phrase in written for phrase in _NOT_WRITABLE):
        known = "does not let the stored credential push." if with_credential else "wants a credential to push."
        return StepFailure(
            "push_refused",
            f"{remote.host} {known}",
            remedy="Store one that may write: `morningai source credential set NAME`.",
        )
    explained = explain(error, remote, with_credential=with_credential)
    if isinstance(explained, InvalidInput):
        return StepFailure("push_failed", explained.problem, remedy=explained.remedy)
    return explained


def _said(error: GitFailed) -> str:
    """The remote's own words, where it has some."""
    lines = [line.strip() for line in error.error_output.splitlines()]
    said = next((line for line in lines if line.startswith("! [")), error.fatal)
    return "".join(character if character.isprintable() else "?" for character in said)[:200]
