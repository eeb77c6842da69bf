from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from morningai.errors import InvalidInput, NotFound
from services.docs.git.bundle import import_bundle, verify_bundle
from services.docs.git.process import GitLimits
from services.docs.git.store import GitStore

if TYPE_CHECKING:
    from conftest import Project

HASH = "a" * 40
NO_BUNDLES = {
    "empty": b"",
    "text": b"hello\n",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "no header end": f"# v2 git bundle\n{HASH} HEAD\n".encode(),
    "no heads": b"# v2 git bundle\n\n",
    "no pack": f"# v2 git bundle\n{HASH} HEAD\n\n".encode(),
    "broken pack": f"# v2 git bundle\n{HASH} HEAD\n\nPACK".encode() + os.urandom(64),
    "a partial history": f"# v2 git bundle\n-{HASH} before\n{HASH} HEAD\n\n".encode(),
    "a filtered one": f"# v3 git bundle\n@filter=blob:none\n{HASH} HEAD\n\n".encode(),
    "sha256": f"# v3 git bundle\n@object-format=sha256\n{HASH} HEAD\n\n".encode(),
    "a short hash": b"# v2 git bundle\nabc HEAD\n\n",
    "an option as a ref": f"# v2 git bundle\n{HASH} --upload-pack=x\n\n".encode(),
    "an endless line": b"# v2 git bundle\n" + b"a" * 10000,
}


@pytest.mark.parametrize("content", NO_BUNDLES.values(), ids=NO_BUNDLES.keys())
async def test_an_upload_that_is_no_repository_is_refused(content: bytes, tmp_path: Path, store: GitStore) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        await import_bundle(path, store)
    assert refused.value.field == "bundle"
    assert refused.value.remedy


async def test_the_heads_of_a_bundle_are_read(project: Project) -> None:
    header = verify_bundle(project.bundle("--all"))
    assert header.heads["refs/heads/main"] == project.git("rev-parse", "HEAD")


async def test_a_bundle_becomes_a_commit_in_the_store(project: Project, store: GitStore) -> None:
    commit = await import_bundle(project.bundle("HEAD"), store)
    assert commit == project.git("rev-parse", "HEAD")
    assert await store.has(commit)


async def test_a_bundle_may_be_imported_again(project: Project, store: GitStore) -> None:
    bundle = project.bundle("HEAD")
    assert await import_bundle(bundle, store) == await import_bundle(bundle, store)


async def test_an_annotated_tag_gives_its_commit(project: Project, store: GitStore) -> None:
    commit = await import_bundle(project.bundle("--all"), store, revision="v1")
    assert commit == project.git("rev-parse", "HEAD~1")


async def test_a_revision_that_the_bundle_does_not_hold_is_refused(project: Project, store: GitStore) -> None:
    with pytest.raises(InvalidInput) as refused:
        await import_bundle(project.bundle("HEAD"), store, revision="develop")
    assert refused.value.field == "revision"


async def test_a_bundle_of_a_shallow_clone_is_refused(project: Project, tmp_path: Path, store: GitStore) -> None:
    shallow = replace(project, folder=tmp_path / "shallow")
    project.git("clone", "--quiet", "--depth=1", f"file://{project.folder}", str(shallow.folder))
    with pytest.raises(InvalidInput) as refused:
        await import_bundle(shallow.bundle("HEAD"), store)
    assert refused.value.field == "bundle"


async def test_a_tree_with_a_dot_git_entry_is_refused(project: Project, store: GitStore) -> None:
    blob = project.git("hash-object", "-w", "--stdin", stdin=b"evil\n")
    inner = project.git("mktree", stdin=f"100644 blob {blob}\tconfig\n".encode())
    tree = project.git("mktree", stdin=f"040000 tree {inner}\t.git\n".encode())
    commit = project.git("commit-tree", tree, "-m", "evil")
    project.git("update-ref", "refs/heads/evil", commit)
    with pytest.raises(InvalidInput, match=r"\.git"):
        await import_bundle(project.bundle("refs/heads/evil"), store, revision="evil")
    with pytest.raises(NotFound):
        await store.resolve_commit(commit)


async def test_a_bundle_above_the_size_limit_is_refused(project: Project, tmp_path: Path) -> None:
    (project.folder / "noise").write_bytes(os.urandom(300_000))
    project.commit({"more.txt": "more\n"})
    small = GitStore(tmp_path / "small.git", GitLimits(repository_bytes=100_000))
    await small.create()
    with pytest.raises(InvalidInput, match="pack"):
        await import_bundle(project.bundle("HEAD"), small)
