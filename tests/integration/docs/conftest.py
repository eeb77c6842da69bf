from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.docs.git.store import GitStore
from tests.git_server import GitServer, serving_git

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True)
class Project:
    """A clone as a person has it."""

    folder: Path

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        command = ["git", "-C", str(self.folder), *arguments]
        done = subprocess.run(command, env={**os.environ, **IDENTITY}, check=True, capture_output=True, input=stdin)
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str]) -> str:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def bundle(self, *revisions: str) -> Path:
        target = self.folder.parent / "project.bundle"
        self.git("bundle", "create", "--quiet", str(target), *revisions)
        return target


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two commits on main and a tag on the first."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit({"README.md": "# Project\n\nIt greets.\n", "greet.py": "def greet():\n    return 'hi'\n"})
    made.git("tag", "--annotate", "v1", "--message", "first")
    made.commit({"greet.py": "def greet(name):\n    return f'hi {name}'\n", "ü/é.txt": "accents\n"})
    return made


@pytest.fixture
async def store(tmp_path: Path) -> GitStore:
    made = GitStore(tmp_path / "stores" / "project.git")
    await made.create()
    return made


@pytest.fixture
def server(project: Project, tmp_path: Path) -> Iterator[GitServer]:
    with serving_git(project.folder, tmp_path) as running:
        yield running
