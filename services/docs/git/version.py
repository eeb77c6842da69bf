"""Refuses a git that would ignore a safety setting without a word."""

from __future__ import annotations

import re

from morningai.errors import FailedPrecondition
from services.docs.git.process import Command, GitFailed, GitLimits, run_git

# 2.37 pins addresses (http.curloptResolve), 2.38 knows safe.bareRepository and transfer.bundleURI.
OLDEST_GIT = (2, 38)
_VERSION = re.compile(r"git version (\d+)\.(\d+)")


async def check_git() -> None:
    """Raises FailedPrecondition when git is missing or older than 2.38."""
    try:
        written = await run_git(Command.make("version"), GitLimits(timeout_seconds=10))
    except GitFailed as error:
        raise _refused("git does not run.") from error
    check_version(written.decode("utf-8", "replace"))


def check_version(written: str) -> None:
    match = _VERSION.match(written)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_GIT:
        raise _refused(f"'{written.strip()[:60]}' is too old.")


def _refused(problem: str) -> FailedPrecondition:
    return FailedPrecondition(problem, remedy="Install git 2.38 or newer.")
