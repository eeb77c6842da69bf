from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from morningai.cli.demo.repositories import current_repository, make_broken_repository


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_broken_repository_has_exactly_one_failing_test(tmp_path: Path) -> None:
    repository = make_broken_repository(tmp_path / "pricing")

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=repository.local.folder, check=False, capture_output=True, text=True)

    assert "1 failed, 2 passed" in done.stdout
    assert "test_a_discount_is_a_share_of_the_price" in done.stdout


def test_the_right_change_makes_every_test_pass(tmp_path: Path) -> None:
    folder = make_broken_repository(tmp_path / "pricing").local.folder
    code = folder / "pricing.py"
    code.write_text(code.read_text().replace("- percent", "* (100 - percent) // 100"))

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)

    assert "3 passed" in done.stdout


def test_a_downloaded_folder_becomes_one_commit_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "MorningAI-1.0"
    folder.mkdir()
    (folder / ".gitignore").write_text("secret.txt\n")
    (folder / "README.md").write_text("# MorningAI\n")
    (folder / "secret.txt").write_text("secret\n")

    repository = current_repository(folder, tmp_path / "scratch")

    assert repository.temporary
    assert "is not a git repository" in repository.note
    assert repository.local.name == "MorningAI-1.0"
    assert git(repository.local.folder, "show", f"{repository.local.commit}:README.md") == "# MorningAI"
    assert git(repository.local.folder, "ls-tree", "--name-only", "HEAD").split() == [".gitignore", "README.md"]
    assert not (folder / ".git").exists()


def test_a_repository_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = make_broken_repository(tmp_path / "pricing").local.folder

    repository = current_repository(folder, tmp_path / "scratch")

    assert not repository.temporary
    assert repository.local.folder == folder


@pytest.mark.parametrize(
    ("name", "source_id"),
    [("MorningAI", "morningai"), ("My Shop_2.0", "my-shop-2-0"), ("é", "repository"), ("x" * 60, "x" * 40)],
)
def test_the_source_is_called_as_the_folder(tmp_path: Path, name: str, source_id: str) -> None:
    folder = tmp_path / name
    folder.mkdir()

    assert current_repository(folder, tmp_path / "scratch").source_id == source_id
