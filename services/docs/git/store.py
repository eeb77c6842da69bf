"""A bare repository on disk: a cache that fetches and bundles fill and that can be deleted at any time.

Invariant: objects are read by their hash, and nothing is ever checked out here.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from morningai.errors import InvalidInput, NotFound
from services.docs.domain import FileEntry, is_commit
from services.docs.git.process import Command, GitFailed, GitLimits, run_git, start_git

INCOMING_REF = "refs/morningai/incoming"
_REGULAR_MODES = frozenset({b"100644", b"100755"})


@dataclass(frozen=True, slots=True)
class GitStore:
    """One source's repository; one writer at a time, which the caller ensures."""

    folder: Path
    limits: GitLimits = field(default_factory=GitLimits)

    async def create(self) -> None:
        """Make an empty repository; an existing one is kept."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        await run_git(
            Command.make("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(self.folder)),
            self.limits,
        )

    async def run(self, *arguments: str) -> bytes:
        return await run_git(self.command(*arguments), self.limits)

    def command(self, *arguments: str) -> Command:
        return Command.make("--git-dir", str(self.folder), *arguments)

    async def resolve_commit(self, name: str) -> str:
        """The commit that a ref, tag or hash stands for. Raises NotFound."""
        try:
            output = await self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitFailed as error:
            raise NotFound("revision", name) from error
        return output.decode("ascii").strip()

    async def keep(self, commit: str) -> str:
        """Give a commit a ref of its own and return the ref."""
        ref = snapshot_ref(commit)
        await self.run("update-ref", ref, commit)
        return ref

    async def has(self, commit: str) -> bool:
        try:
            return await self.resolve_commit(snapshot_ref(commit)) == commit
        except NotFound:
            return False

    async def list_files(self, commit: str) -> list[FileEntry]:
        """The commit's regular files; symbolic links, submodules and names that are not UTF-8 are left out."""
        output = await self.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        entries = (_parse_entry(line) for line in output.split(b"\0") if line)
        return [entry for entry in entries if entry is not None]

    async def read_blobs(self, blob_hashes: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
        """Each blob's content, in the order asked. Raises NotFound, and TimeoutError between two blobs."""
        command = self.command("cat-file", "--batch")
        with tempfile.TemporaryFile() as errors:
            async with start_git(command, self.limits, stdin=b"", errors=errors) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                feeding = asyncio.ensure_future(_feed_lines(process.stdin, blob_hashes))
                try:
                    for blob_hash in blob_hashes:
                        async with asyncio.timeout(self.limits.timeout_seconds):
                            content = await _read_blob(process.stdout, blob_hash)
                        yield blob_hash, content
                finally:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)

    async def make_bundle(self, commit: str, target: Path) -> str:
        """Write the commit and its history to a bundle file that `git clone` reads; returns the ref in it."""
        ref = await self.keep(commit)
        await self.run("bundle", "create", "--quiet", str(target), ref)
        return ref


def snapshot_ref(commit: str) -> str:
    if not is_commit(commit):
        raise InvalidInput("commit", f"'{commit[:80]}' is no commit hash.", remedy="Use all 40 hexadecimal digits.")
    return f"refs/heads/snapshot/{commit}"


def _parse_entry(line: bytes) -> FileEntry | None:
    description, _, name = line.partition(b"\t")
    mode, _, blob_hash, size = description.split()
    if mode not in _REGULAR_MODES:
        return None
    try:
        return FileEntry(path=name.decode("utf-8"), blob_hash=blob_hash.decode("ascii"), size_bytes=int(size))
    except UnicodeDecodeError:
        return None


async def _feed_lines(stdin: asyncio.StreamWriter, lines: Sequence[str]) -> None:
    for line in lines:
        stdin.write(line.encode("ascii") + b"\n")
        await stdin.drain()
    stdin.close()


async def _read_blob(stdout: asyncio.StreamReader, blob_hash: str) -> bytes:
    header = (await stdout.readline()).split()
    if len(header) != 3 or header[1] != b"blob":
        raise NotFound("blob", blob_hash)
    content = await stdout.readexactly(int(header[2]))
    await stdout.readexactly(1)
    return content
