"""Repositories from bundles: exact bytes, nothing executed, nothing outside of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from morningai.errors import InvalidInput, StepFailure
from services.codegen.domain.policy import check_patch
from services.codegen.errors import EditRefused, PatchRefused
from services.codegen.workspace import Workspace, WorkspaceLimits
from tests.integration.codegen.workshop import Repository, make_repository

LIMITS = WorkspaceLimits(seconds=20)
FILES = {"a.txt": "one\n", "sub/b.txt": "two\n"}


async def open_workspace(repository: Repository, folder: Path, limits: WorkspaceLimits = LIMITS) -> Workspace:
    return await Workspace.open(repository.bundle, repository.commit, folder, limits=limits)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "origin", FILES)


@pytest.fixture
def repository_with_link(tmp_path: Path) -> Repository:
    (tmp_path / "origin").mkdir()
    (tmp_path / "origin" / "link").symlink_to("/etc/passwd")
    return make_repository(tmp_path / "origin", FILES)


async def test_files_are_written_byte_for_byte_whatever_the_attributes_say(tmp_path: Path) -> None:
    files = {".gitattributes": "* text eol=crlf ident filter=evil\n", "a.txt": "$Id$\none\n"}
    workspace = await open_workspace(make_repository(tmp_path / "origin", files), tmp_path / "git")
    await workspace.export(workspace.commit, tmp_path / "tree")

    assert (tmp_path / "tree" / "a.txt").read_bytes() == b"$Id$\none\n"


async def test_symbolic_links_are_left_out_and_cannot_be_edited(
    tmp_path: Path, repository_with_link: Repository
) -> None:
    workspace = await open_workspace(repository_with_link, tmp_path / "git")
    await workspace.export(workspace.commit, tmp_path / "tree")

    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["a.txt", "sub"]
    with pytest.raises(EditRefused):
        await workspace.write_tree(workspace.commit, {"link": b"x"})


async def test_a_patch_that_creates_a_link_is_refused_by_the_policy(tmp_path: Path, repository: Repository) -> None:
    patch = (
        "diff --git a/link b/link\nnew file mode 120000\n--- /dev/null\n+++ b/link\n@@ -0,0 +1 @@\n"
        "+/etc/passwd\n\\ No newline at end of file\n"
    )
    workspace = await open_workspace(repository, tmp_path / "git")
    tree = await workspace.apply(workspace.commit, patch)
    changes = await workspace.changes(workspace.commit, tree)

    with pytest.raises(PatchRefused, match="symbolic link"):
        check_patch(changes)


@pytest.mark.parametrize("path", ["../b.txt", ".git/hooks/post-checkout", "/tmp/b.txt"])
async def test_a_patch_outside_of_the_repository_is_refused_by_git(
    tmp_path: Path, repository: Repository, path: str
) -> None:
    patch = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
    workspace = await open_workspace(repository, tmp_path / "git")

    with pytest.raises(PatchRefused):
        await workspace.apply(workspace.commit, patch)


async def test_a_diff_applied_again_gives_the_same_tree(tmp_path: Path, repository: Repository) -> None:
    workspace = await open_workspace(repository, tmp_path / "git")
    tree = await workspace.write_tree(workspace.commit, {"a.txt": b"uno\n", "new/c.txt": b"three"})
    patch = await workspace.diff(workspace.commit, tree)

    assert await workspace.apply(workspace.commit, patch) == tree


async def test_restored_files_are_as_in_the_commit_and_added_ones_are_gone(
    tmp_path: Path, repository: Repository
) -> None:
    workspace = await open_workspace(repository, tmp_path / "git")
    tree = await workspace.write_tree(workspace.commit, {"a.txt": b"uno\n", "new.txt": b"x", "kept.txt": b"y"})
    restored = await workspace.restore(tree, workspace.commit, ["a.txt", "new.txt"])

    assert [change.path for change in await workspace.changes(workspace.commit, restored)] == ["kept.txt"]


@pytest.mark.parametrize("commit", ["0" * 40, "--upload-pack=touch /tmp/x", "main", ""])
async def test_a_commit_that_is_not_in_the_bundle_is_invalid_input(
    tmp_path: Path, repository: Repository, commit: str
) -> None:
    with pytest.raises(InvalidInput):
        await Workspace.open(repository.bundle, commit, tmp_path / "git", limits=LIMITS)


@pytest.mark.parametrize("content", [b"", b"# v2 git bundle\n", b"PK\x03\x04 no bundle"])
async def test_a_file_that_is_no_bundle_is_invalid_input(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.bundle").write_bytes(content)
    with pytest.raises(InvalidInput):
        await Workspace.open(tmp_path / "x.bundle", "0" * 40, tmp_path / "git", limits=LIMITS)


async def test_a_repository_over_its_limits_is_refused_before_it_is_written(
    tmp_path: Path, repository: Repository
) -> None:
    workspace = await open_workspace(repository, tmp_path / "git", WorkspaceLimits(tree_bytes=5))
    with pytest.raises(StepFailure, match="2 files of 8 bytes"):
        await workspace.export(workspace.commit, tmp_path / "tree")

    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("name", ["a\\b.txt", "C:x.txt", "caf\udce9.txt", "line\nbreak", "\u202e.py"])
async def test_a_file_of_the_commit_is_written_whatever_its_name(tmp_path: Path, name: str) -> None:
    workspace = await open_workspace(make_repository(tmp_path / "origin", {**FILES, name: "x\n"}), tmp_path / "git")
    await workspace.export(workspace.commit, tmp_path / "tree")

    assert (tmp_path / "tree" / name).read_text() == "x\n"


@pytest.mark.parametrize(("path", "problem"), [("a.txt/b.py", "a.txt is a file"), ("sub", "it is a folder")])
async def test_a_new_file_must_have_a_place(tmp_path: Path, repository: Repository, path: str, problem: str) -> None:
    workspace = await open_workspace(repository, tmp_path / "git")
    with pytest.raises(EditRefused, match=problem):
        await workspace.write_tree(workspace.commit, {path: b"x"})


async def test_hooks_of_the_user_s_git_are_not_run(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "templates" / "hooks").mkdir(parents=True)
    hook = tmp_path / "templates" / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "templates"))
    await open_workspace(repository, tmp_path / "git")

    assert not (tmp_path / "ran").exists()
