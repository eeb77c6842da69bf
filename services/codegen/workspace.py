"""A repository at a commit, read from a bundle as plain objects: git never checks out, filters or runs anything.

Trees are written and patches applied inside the object store: no file of a tenant's is ever configuration of our git.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from morningai.errors import InvalidInput, StepFailure
from services.codegen.domain.policy import EXECUTABLE_FILE, REGULAR_FILE, SUBMODULE, FileChange
from services.codegen.errors import EditRefused, PatchRefused
from services.codegen.processes import Caps, run_process

_MEBIBYTE = 1024 * 1024
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFERENCES = "refs/bundle"
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.attributesFile=/dev/null"),
    *("-c", "safe.directory=*", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.fsync=none"),
    *("-c", "fetch.fsckObjects=true", "-c", "submodule.recurse=false", "-c", "core.quotePath=false"),
)
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "file",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}
_WRITTEN_MODES = {REGULAR_FILE: 0o644, EXECUTABLE_FILE: 0o755}


@dataclass(frozen=True)
class WorkspaceLimits:
    bundle_bytes: int = 256 * _MEBIBYTE
    tree_bytes: int = 200 * _MEBIBYTE
    files: int = 20_000
    seconds: float = 60.0
    patch_bytes: int = 1 * _MEBIBYTE


@dataclass(frozen=True)
class Entry:
    mode: str
    object_id: str
    size_bytes: int


@dataclass(frozen=True)
class Workspace:
    folder: Path
    commit: str
    limits: WorkspaceLimits

    @classmethod
    async def open(cls, bundle: Path, commit: str, folder: Path, *, limits: WorkspaceLimits) -> Workspace:
        """Reads the bundle into `folder`, which must be empty; raises InvalidInput for one without the commit."""
        if not _OBJECT_ID.fullmatch(commit):
            raise InvalidInput("commit", f"{commit!r} is not a full commit id")
        size = bundle.stat().st_size  # noqa: ASYNC240  one call
        if size > limits.bundle_bytes:
            raise InvalidInput("source", f"the bundle has {size} bytes; at most {limits.bundle_bytes} are taken")
        workspace = cls(folder, commit, limits)
        await workspace._git("init", "--quiet", "--bare", "--template=", str(folder))
        try:
            await workspace._git("fetch", "--quiet", "--no-tags", str(bundle), f"+refs/*:{_REFERENCES}/*")
            await workspace._git("cat-file", "-e", f"{commit}^{{commit}}")
        except StepFailure as error:
            raise InvalidInput("source", f"the commit {commit} is not in the bundle, or it is damaged") from error
        return workspace

    async def entries(self, tree: str) -> dict[str, Entry]:
        """Every file of a tree-ish by its path; raises StepFailure when there is more than the limits allow."""
        listing = await self._git("ls-tree", "-r", "-z", "-l", "--full-tree", tree)
        entries: dict[str, Entry] = {}
        for line in listing.split(b"\0")[:-1]:
            description, _, path = line.partition(b"\t")
            mode, _, object_id, size = description.decode().split()
            entries[os.fsdecode(path)] = Entry(mode, object_id, 0 if size == "-" else int(size))
        total = sum(entry.size_bytes for entry in entries.values())
        if total > self.limits.tree_bytes or len(entries) > self.limits.files:
            problem = f"The repository has {len(entries)} files of {total} bytes at {self.commit}."
            remedy = f"At most {self.limits.files} files of {self.limits.tree_bytes} bytes are taken."
            raise StepFailure("workspace_too_large", problem, remedy=remedy)
        return entries

    async def export(self, tree: str, target: Path) -> None:
        """Writes a tree's files byte for byte; symbolic links and submodules are left out."""
        entries = await self.entries(tree)
        plain = {path: entry for path, entry in entries.items() if entry.mode in _WRITTEN_MODES}
        contents = await self.contents({entry.object_id for entry in plain.values()})
        files = {path: (entry.mode, contents[entry.object_id]) for path, entry in plain.items()}
        await asyncio.to_thread(_write_files, target, files)

    async def contents(self, object_ids: Iterable[str]) -> dict[str, bytes]:
        wanted = sorted(set(object_ids))
        if not wanted:
            return {}
        stream = await self._git("cat-file", "--batch", stdin="".join(f"{name}\n" for name in wanted).encode())
        contents, position = {}, 0
        for name in wanted:
            header, _, _ = stream[position : position + 200].partition(b"\n")
            size = int(header.split()[2])
            start = position + len(header) + 1
            contents[name] = stream[start : start + size]
            position = start + size + 1
        return contents

    async def write_tree(self, base: str, files: Mapping[str, bytes]) -> str:
        """The tree that `base` becomes with these files; a file keeps its mode, a new one is plain."""
        entries = await self.entries(base)
        lines = []
        for path, content in files.items():
            mode = entries[path].mode if path in entries else REGULAR_FILE
            if mode not in _WRITTEN_MODES:
                raise EditRefused(f"{path} is not a plain file.")
            if path not in entries:
                _check_place(path, entries)
            object_id = (await self._git("hash-object", "-w", "--stdin", stdin=content)).decode().strip()
            lines.append(f"{mode} {object_id} 0\t{path}")
        return await self._indexed(base, "\0".join([*lines, ""]).encode())

    async def apply(self, base: str, patch: str) -> str:
        """The tree that `base` becomes with this patch; raises PatchRefused when git does not take it."""
        index = self._index(base)
        try:
            await self._git("read-tree", base, index=index)
            await self._git("apply", "--cached", "--whitespace=nowarn", "-", stdin=patch.encode(), index=index)
            return (await self._git("write-tree", index=index)).decode().strip()
        except StepFailure as error:
            raise PatchRefused(f"The patch does not apply to {base}: {error.message}") from error
        finally:
            index.unlink(missing_ok=True)

    async def restore(self, tree: str, base: str, paths: Iterable[str]) -> str:
        """The tree with these paths as they are in `base`: those that it does not have are removed."""
        originals = await self.entries(base)
        lines = []
        for path in paths:
            entry = originals.get(path)
            lines.append(f"{entry.mode} {entry.object_id} 0\t{path}" if entry else f"0 {'0' * len(base)} 0\t{path}")
        return await self._indexed(tree, "\0".join([*lines, ""]).encode())

    async def diff(self, base: str, tree: str) -> str:
        patch = await self._git(
            *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--full-index"),
            *("--src-prefix=a/", "--dst-prefix=b/", "--unified=3", "--diff-algorithm=histogram", base, tree),
        )
        if len(patch) > self.limits.patch_bytes:
            raise PatchRefused(f"The patch has {len(patch)} bytes; at most {self.limits.patch_bytes} are taken.")
        return patch.decode()

    async def changes(self, base: str, tree: str) -> list[FileChange]:
        """What differs between two trees, for the policy."""
        old, new = await self.entries(base), await self.entries(tree)
        paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        touched = [entry for path in paths for entry in (old.get(path), new.get(path)) if entry]
        contents = await self.contents(entry.object_id for entry in touched if entry.mode != SUBMODULE)
        return [_change(path, old.get(path), new.get(path), contents) for path in paths]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _indexed(self, base: str, lines: bytes) -> str:
        index = self._index(base)
        try:
            await self._git("read-tree", base, index=index)
            await self._git("update-index", "-z", "--index-info", stdin=lines, index=index)
            return (await self._git("write-tree", index=index)).decode().strip()
        finally:
            index.unlink(missing_ok=True)

    def _index(self, base: str) -> Path:
        return self.folder / f"index-{hashlib.sha256(base.encode()).hexdigest()[:12]}-{id(asyncio.current_task())}"

    async def _git(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> bytes:
        finished = await run_process(
            ["git", *_SETTINGS, *arguments],
            caps=Caps(seconds=self.limits.seconds, output_bytes=self.limits.tree_bytes + 512 * self.limits.files),
            environment=_ENVIRONMENT
            | {"GIT_DIR": str(self.folder)}
            | ({"GIT_INDEX_FILE": str(index)} if index else {}),
            stdin=stdin,
        )
        if finished.stopped:
            raise StepFailure("workspace_limit", f"git {arguments[0]} went over its limit of {finished.stopped}.")
        if finished.exit_code != 0:
            problem = finished.errors.decode(errors="replace").strip()[-500:]
            raise StepFailure("workspace_unreadable", f"git {arguments[0]} failed: {problem}")
        return finished.output


def _check_place(path: str, entries: Mapping[str, Entry]) -> None:
    if file := next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in entries), None):
        raise EditRefused(f"{path} cannot be added: {file} is a file, not a folder.")
    if any(other.startswith(f"{path}/") for other in entries):
        raise EditRefused(f"{path} cannot be added: it is a folder.")


def _change(path: str, old: Entry | None, new: Entry | None, contents: Mapping[str, bytes]) -> FileChange:
    return FileChange(
        path=path,
        old_mode=old.mode if old else None,
        new_mode=new.mode if new else None,
        old=contents.get(old.object_id) if old else None,
        new=contents.get(new.object_id) if new else None,
    )


def _write_files(target: Path, files: Mapping[str, tuple[str, bytes]]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    # The sandbox's user is another one, and this process may have a strict umask.
    target.chmod(0o755)
    for path, (mode, content) in files.items():
        file = target / path
        if not Path(os.path.normpath(file)).is_relative_to(target):
            raise StepFailure("workspace_unreadable", f"The repository has a file outside of itself: {path!r}.")
        for folder in reversed(file.relative_to(target).parents[:-1]):
            (target / folder).mkdir(mode=0o755, exist_ok=True)
            (target / folder).chmod(0o755)
        file.write_bytes(content)
        file.chmod(_WRITTEN_MODES[mode])
