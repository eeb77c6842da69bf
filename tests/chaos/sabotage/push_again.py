"""A push replaces what is there, with a commit of its own time; and the first one of a branch is not recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from morningai.errors import Unavailable


def install(folder: Path, service: str) -> None:
    if service != "docs":
        return
    from services.docs import sources
    from services.docs.git import push

    make_commit, run_against, push_branch = sources.make_commit, push.run_against, sources.push_branch
    pushed = set[str]()

    async def made_now(store: Any, commit: Any) -> str:
        return await make_commit(store, replace(commit, time=datetime.now(UTC)))

    async def by_force(*arguments: Any, **named: Any) -> bytes:
        kept = [argument for argument in arguments if not str(argument).startswith("--force-with-lease")]
        return await run_against(*kept[:-1], f"+{kept[-1]}", **named)

    async def and_again(*arguments: Any, branch: str, **named: Any) -> None:
        await push_branch(*arguments, branch=branch, **named)
        if branch not in pushed:
            pushed.add(branch)
            raise Unavailable("It was pushed, and is forgotten.")

    sources.make_commit = made_now
    push.run_against = by_force
    sources.push_branch = and_again
