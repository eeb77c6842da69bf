from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from morningai.egress import EgressGuard
from morningai.errors import InvalidInput, Unavailable
from services.docs.domain import parse_remote
from services.docs.git.process import GitLimits
from services.docs.git.remote import RemoteAccess, fetch_remote
from services.docs.git.store import GitStore
from tests.git_server import HOST, GitServer

if TYPE_CHECKING:
    from conftest import Project


async def test_a_remote_is_fetched_to_a_commit_from_the_pinned_address(
    project: Project, server: GitServer, store: GitStore
) -> None:
    commit = await fetch_remote(server.remote("project"), store, server.access())
    assert commit == project.git("rev-parse", "HEAD")
    assert [file.path for file in await store.list_files(commit)] == ["README.md", "greet.py", "ü/é.txt"]


@pytest.mark.parametrize("revision", ["v1", "HEAD"])
async def test_a_tag_is_fetched_as_its_commit(
    project: Project, server: GitServer, store: GitStore, revision: str
) -> None:
    commit = await fetch_remote(server.remote("project"), store, server.access(), revision=revision)
    assert commit == project.git("rev-parse", f"{revision}^{{commit}}")


async def test_a_commit_hash_is_fetched(project: Project, server: GitServer, store: GitStore) -> None:
    first = project.git("rev-parse", "HEAD~1")
    assert await fetch_remote(server.remote("project"), store, server.access(), revision=first) == first


async def test_a_second_fetch_brings_the_new_commit(project: Project, server: GitServer, store: GitStore) -> None:
    await fetch_remote(server.remote("project"), store, server.access())
    commit = project.commit({"new.txt": "new\n"})
    assert await fetch_remote(server.remote("project"), store, server.access()) == commit


async def test_a_redirect_is_not_followed(server: GitServer, store: GitStore) -> None:
    with pytest.raises(InvalidInput, match="redirects"):
        await fetch_remote(server.remote("moved"), store, server.access())
    assert all(request.startswith("/moved") for request in server.requests)


@pytest.mark.parametrize(
    ("path", "revision", "field", "problem"),
    [
        ("private", "HEAD", "remote_uri", "credential"),
        ("missing", "HEAD", "remote_uri", "no repository"),
        ("project", "nope", "revision", "no such revision"),
    ],
)
async def test_a_remote_that_cannot_be_read_says_why(
    server: GitServer, store: GitStore, path: str, revision: str, field: str, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem) as refused:
        await fetch_remote(server.remote(path), store, server.access(), revision=revision)
    assert refused.value.field == field


async def test_an_internal_remote_is_refused_before_git_connects(server: GitServer, store: GitStore) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    access = RemoteAccess(guard=EgressGuard(resolver=resolver), certificate_file=server.certificate_file)
    with pytest.raises(InvalidInput, match="internal"):
        await fetch_remote(server.remote("project"), store, access)
    assert server.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused(server: GitServer, store: GitStore) -> None:
    access = RemoteAccess(guard=server.access().guard)
    with pytest.raises(InvalidInput, match="certificate"):
        await fetch_remote(server.remote("project"), store, access)


async def test_a_repository_above_the_size_limit_is_refused(
    project: Project, server: GitServer, tmp_path: Path
) -> None:
    (project.folder / "noise").write_bytes(os.urandom(400_000))
    project.commit({"more.txt": "more\n"})
    small = GitStore(tmp_path / "small.git", GitLimits(repository_bytes=100_000))
    await small.create()
    with pytest.raises(InvalidInput, match="larger than allowed"):
        await fetch_remote(server.remote("project"), small, server.access())


async def test_a_remote_that_is_down_is_tried_again(store: GitStore, server: GitServer) -> None:
    with pytest.raises(Unavailable):
        await fetch_remote(parse_remote(f"https://{HOST}:1/project"), store, server.access())


async def test_an_ssh_host_without_a_known_key_is_refused(store: GitStore, server: GitServer) -> None:
    with pytest.raises((InvalidInput, Unavailable)):
        await fetch_remote(parse_remote(f"ssh://git@{HOST}:{server.port}/project"), store, server.access())
