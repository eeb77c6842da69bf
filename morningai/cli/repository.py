"""A local git repository as a bundle of its HEAD, made by plain git, which runs none of the repository's programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from morningai.api.sources.v1 import sources_pb2 as api
from morningai.errors import FailedPrecondition, InvalidInput

PIECE_BYTES = 1024 * 1024
GIT_TIMEOUT_SECONDS = 600
_NO_PROGRAMS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false")


@dataclass(frozen=True)
class LocalRepository:
    """`name` is the folder's name: where the folder is stays on this machine."""

    folder: Path
    name: str
    commit: str
    uncommitted_count: int


def find_repository(path: Path) -> LocalRepository:
    """The repository that the path is in. Raises InvalidInput("path")."""
    if not path.is_dir():
        raise InvalidInput("path", f"{path} is not a folder.", remedy="Give the folder of a git repository, or a URL.")
    found = run_git("rev-parse", "--is-bare-repository", "--is-shallow-repository", folder=path)
    if found.returncode != 0:
        words = _last_line(found.stderr)
        why = "" if words.startswith("not a git repository") else f" ({words})"
        raise InvalidInput(
            "path",
            f"{path} is not a git repository{why}.",
            remedy="Make it one with `git init && git add -A && git commit -m start`, or give another folder.",
        )
    bare, shallow = (word == "true" for word in found.stdout.split())
    if shallow:
        raise InvalidInput(
            "path", f"{path} is a shallow clone.", remedy="Complete it with `git fetch --unshallow`, then add it again."
        )
    folder = path.resolve() if bare else Path(read_git("rev-parse", "--show-toplevel", folder=path))
    count = 0 if bare else len(read_git("status", "--porcelain", folder=folder).splitlines())
    return LocalRepository(folder, folder.name.removesuffix(".git"), head_commit(folder), count)


def head_commit(folder: Path) -> str:
    found = run_git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", folder=folder)
    if found.returncode != 0:
        raise InvalidInput(
            "path", f"{folder} has no commit.", remedy="Commit something first: `git add -A && git commit -m start`."
        )
    return found.stdout.strip()


def write_bundle(repository: LocalRepository, bundle: Path) -> None:
    """HEAD and its whole history; nothing uncommitted, no other branch. Raises InvalidInput("path")."""
    done = run_git("bundle", "create", "--quiet", str(bundle), "HEAD", folder=repository.folder)
    if done.returncode != 0:
        raise InvalidInput(
            "path",
            f"{repository.folder} cannot be bundled: git says {_first_line(done.stderr)!r}.",
            remedy="See what it lacks with `git fsck`, complete it with `git fetch --refetch`, then add it again.",
        )


def upload_parts(source_id: str, repository: LocalRepository, bundle: Path) -> Iterator[api.UploadSourceRequest]:
    source = api.Source(kind=api.SOURCE_KIND_UPLOAD, repository=repository.name, commit=repository.commit)
    yield api.UploadSourceRequest(source=api.CreateSourceRequest(source=source, source_id=source_id))
    with bundle.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield api.UploadSourceRequest(piece=piece)


def read_git(*arguments: str, folder: Path) -> str:
    """What git prints. Raises FailedPrecondition with git's last words."""
    done = run_git(*arguments, folder=folder)
    if done.returncode != 0:
        raise FailedPrecondition(f"git {arguments[0]} failed in {folder}: {_last_line(done.stderr)}.")
    return done.stdout.strip()


def run_git(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    git = shutil.which("git")
    if git is None:
        raise FailedPrecondition("git was not found.", remedy="Install git, then try again.")
    try:
        return subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, *_NO_PROGRAMS, *arguments],
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=GIT_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise FailedPrecondition(f"git {arguments[0]} did not end within {GIT_TIMEOUT_SECONDS} s.") from error


def _environment() -> dict[str, str]:
    """Without what a surrounding git, such as a hook's, says about its own repository."""
    kept = {name: value for name, value in os.environ.items() if not _is_git_state(name)}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _is_git_state(name: str) -> bool:
    return name.startswith("GIT_") and not name.startswith("GIT_CONFIG")


def _first_line(text: str) -> str:
    """The cause; what follows it is what became of the cause."""
    lines = text.strip().splitlines()
    return lines[0].removeprefix("error: ").removeprefix("fatal: ") if lines else "no reason"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("fatal: ").rstrip(".") if lines else "no reason given"
