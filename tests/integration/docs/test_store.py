from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from morningai.errors import InvalidInput, NotFound
from services.docs.git.bundle import import_bundle
from services.docs.git.process import Command, GitFailed, GitLimits, GitOutputTooLarge, GitTimedOut, run_git
from services.docs.git.store import GitStore

if TYPE_CHECKING:
    from conftest import Project


@pytest.fixture
async def commit(project: Project, store: GitStore) -> str:
    (project.folder / "link").symlink_to("/etc/passwd")
    project.commit({"tool.sh": "#!/bin/sh\n"})
    return await import_bundle(project.bundle("HEAD"), store)


async def test_the_files_of_a_commit_are_listed_without_links(commit: str, store: GitStore) -> None:
    files = await store.list_files(commit)
    assert [file.path for file in files] == ["README.md", "greet.py", "tool.sh", "ü/é.txt"]
    assert files[0].size_bytes == len("# Project\n\nIt greets.\n")


async def test_blobs_are_read_in_the_order_asked(commit: str, store: GitStore) -> None:
    files = {file.path: file.blob_hash for file in await store.list_files(commit)}
    wanted = [files["ü/é.txt"], files["README.md"], files["ü/é.txt"]]
    read = [content async for _, content in store.read_blobs(wanted)]
    assert read == [b"accents\n", b"# Project\n\nIt greets.\n", b"accents\n"]


async def test_thousands_of_blobs_are_read_without_a_deadlock(commit: str, store: GitStore) -> None:
    files = await store.list_files(commit)
    wanted = [files[0].blob_hash] * 20_000
    async with asyncio.timeout(20):
        count = sum([1 async for _ in store.read_blobs(wanted)])
    assert count == 20_000


async def test_a_blob_that_is_not_there_is_not_found(commit: str, store: GitStore) -> None:
    with pytest.raises(NotFound):
        _ = [blob async for blob in store.read_blobs(["b" * 40])]


async def test_a_reader_that_stops_early_leaves_no_process(commit: str, store: GitStore) -> None:
    files = await store.list_files(commit)
    reading = store.read_blobs([files[0].blob_hash] * 5000)
    await anext(reading)
    async with asyncio.timeout(5):
        await reading.aclose()  # type: ignore[attr-defined]


async def test_a_revision_that_is_not_there_is_not_found(store: GitStore) -> None:
    with pytest.raises(NotFound):
        await store.resolve_commit("main")


@pytest.mark.parametrize("name", ["HEAD", "--all", "abc", "A" * 40])
async def test_only_a_full_hash_is_bundled(name: str, store: GitStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        await store.make_bundle(name, tmp_path / "out.bundle")


async def test_the_bundle_of_a_commit_is_cloned_by_plain_git(
    commit: str, store: GitStore, project: Project, tmp_path: Path
) -> None:
    bundle = tmp_path / "out.bundle"
    ref = await store.make_bundle(commit, bundle)
    clone = replace(project, folder=tmp_path / "clone")
    project.git("clone", "--quiet", "--branch", ref.removeprefix("refs/heads/"), str(bundle), str(clone.folder))
    assert clone.git("rev-parse", "HEAD") == commit


async def test_the_users_configuration_is_not_read(
    tmp_path: Path, store: GitStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Mallory\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(GitFailed):
        await store.run("config", "user.name")


async def test_a_transport_that_was_not_asked_for_is_refused(project: Project, store: GitStore) -> None:
    with pytest.raises(GitFailed, match="128") as refused:
        await store.run("fetch", str(project.folder), "HEAD")
    assert "not allowed" in refused.value.fatal


async def test_git_that_takes_too_long_is_stopped() -> None:
    sleep = Command.make("-c", "alias.wait=!sleep 60", "wait")
    with pytest.raises(GitTimedOut):
        await run_git(sleep, GitLimits(timeout_seconds=0.3))


async def test_output_above_the_limit_is_refused(commit: str, store: GitStore) -> None:
    with pytest.raises(GitOutputTooLarge):
        await run_git(store.command("ls-tree", "-r", commit), GitLimits(output_bytes=10))


async def test_input_that_git_does_not_read_is_no_failure(store: GitStore) -> None:
    assert await run_git(store.command("rev-parse", "--is-bare-repository"), store.limits, stdin=b"x" * 10**6)
