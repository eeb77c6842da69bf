"""Makes the commit that a change is delivered as: of the same change, always the same one."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from morningai.errors import StepFailure
from services.docs.git.process import Command, GitFailed, run_git
from services.docs.git.store import GitStore

NAME, EMAIL = "MorningAI", "morningai@users.noreply.invalid"
LONGEST_SUBJECT = 72


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that the hash of a commit comes from; `patch` is a diff against `parent`."""

    parent: str
    patch: str
    message: str
    time: datetime


def commit_message(instruction: str, *, task: str, trace_id: str, change: str) -> str:
    """A subject of one line, what was asked for, and where it came from as trailers."""
    words = " ".join(instruction.split())
    subject = words if len(words) <= LONGEST_SUBJECT else f"{words[: LONGEST_SUBJECT - 1]}…"
    body = "" if subject == words else f"{_without_controls(instruction.strip())}\n\n"
    return f"{subject}\n\n{body}Task: {task}\nTrace: {trace_id}\nChange: {change}\n"


async def make_commit(store: GitStore, commit: Commit) -> str:
    """Write the commit into the store and return its hash. Raises StepFailure for a patch that does not apply."""
    with tempfile.TemporaryDirectory(dir=store.folder) as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        await _git(store, "read-tree", commit.parent, environment=index)
        try:
            await _git(
                store, "apply", "--cached", "--whitespace=nowarn", "-", environment=index, stdin=commit.patch.encode()
            )
        except GitFailed as error:
            raise StepFailure(
                "patch_does_not_apply",
                f"The patch does not apply to {commit.parent[:10]} ({error.fatal}).",
                remedy="Ask for the change again.",
            ) from error
        tree = await _git(store, "write-tree", environment=index)
    arguments = ("commit-tree", tree, "-p", commit.parent, "-F", "-")
    return await _git(store, *arguments, environment=_identity(commit.time), stdin=commit.message.encode())


async def _git(store: GitStore, *arguments: str, environment: dict[str, str], stdin: bytes | None = None) -> str:
    command = Command.make("--git-dir", str(store.folder), *arguments, environment=environment)
    return (await run_git(command, store.limits, stdin=stdin)).decode("ascii").strip()


def _identity(time: datetime) -> dict[str, str]:
    date = f"{int(time.astimezone(UTC).timestamp())} +0000"
    return {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", NAME), ("EMAIL", EMAIL), ("DATE", date))
    }


def _without_controls(text: str) -> str:
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)
