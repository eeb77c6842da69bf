"""Uploaded bundles: the header is read here, and only the pack behind it is given to git.

Invariant: a commit gets a name in the store only when its pack is complete and well formed.
The format is git's `gitformat-bundle`, versions 2 and 3.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from morningai.errors import InvalidInput, NotFound
from services.docs.git.process import TOLERATED_SLIPS, Command, GitFailed, GitOutputTooLarge, GitTimedOut, run_git
from services.docs.git.store import GitStore

BUNDLE_REMEDY = "Upload a file made by `git bundle create FILE HEAD` in a complete clone."
_SIGNATURES = (b"# v2 git bundle\n", b"# v3 git bundle\n")
_LONGEST_HEADER = 1024**2
_LONGEST_LINE = 4096
_HEAD_LINE = re.compile(r"([0-9a-f]{40}) (HEAD|refs/[^\x00-\x20\x7f~^:?*\[\\]+)")


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What a bundle says it holds: `heads` maps refs to object hashes; the pack begins at `pack_offset`."""

    heads: dict[str, str]
    pack_offset: int

    def commit_of(self, revision: str) -> str:
        """The hash that HEAD, a branch or a tag points to; HEAD may be the bundle's only ref under another name."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.heads:
                return self.heads[name]
        hashes = set(self.heads.values())
        if revision == "HEAD" and len(hashes) == 1:
            return hashes.pop()
        if revision in hashes:
            return revision
        raise InvalidInput("revision", f"the bundle has no '{revision}'.", remedy=f"It has: {_some(self.heads)}.")


def verify_bundle(path: Path) -> BundleHeader:
    """Read a bundle's header. Raises InvalidInput("bundle") for a file that is no complete bundle."""
    with path.open("rb") as file:
        return _read_header(file)


async def import_bundle(path: Path, store: GitStore, *, revision: str = "HEAD") -> str:
    """Take a bundle's objects into the store and return the commit of `revision`.

    Raises InvalidInput("bundle") when the pack is broken, incomplete or too large, InvalidInput("revision") when the
    bundle does not hold the revision.
    """
    header = verify_bundle(path)
    wanted = header.commit_of(revision)
    with path.open("rb") as file:
        os.lseek(file.fileno(), header.pack_offset, os.SEEK_SET)
        await _index_pack(store, file)
    try:
        commit = await store.resolve_commit(wanted)
    except NotFound as error:
        raise _refused(f"its pack does not hold {revision} as a commit.") from error
    await store.keep(commit)
    return commit


async def _index_pack(store: GitStore, pack: BinaryIO) -> None:
    slips = ",".join(f"{slip}=ignore" for slip in TOLERATED_SLIPS)
    command = Command.make(
        "--git-dir", str(store.folder), "index-pack", "--stdin", f"--strict={slips}",
        f"--max-input-size={store.limits.repository_bytes}",
    )  # fmt: skip
    try:
        await run_git(command, store.limits, stdin=pack.fileno())
    except GitFailed as error:
        raise _refused(f"git refuses its pack ({error.fatal}).") from error
    except (GitTimedOut, GitOutputTooLarge) as error:
        raise _refused("unpacking it takes too long.", "Upload a smaller repository.") from error


def _read_header(file: BinaryIO) -> BundleHeader:
    signature = file.readline(_LONGEST_LINE)
    if signature not in _SIGNATURES:
        raise _refused("the file is no git bundle.")
    heads: dict[str, str] = {}
    while (line := file.readline(_LONGEST_LINE)) != b"\n":
        if not line.endswith(b"\n") or file.tell() > _LONGEST_HEADER:
            raise _refused("its header is broken.")
        text = line[:-1].decode("utf-8", "replace")
        if text.startswith("@"):
            _check_capability(text)
        elif text.startswith("-"):
            raise _refused("it holds only a part of the history.")
        else:
            name, object_hash = _parse_head(text)
            heads[name] = object_hash
    if not heads:
        raise _refused("it names no branch.")
    return BundleHeader(heads=heads, pack_offset=file.tell())


def _check_capability(text: str) -> None:
    if text != "@object-format=sha1":
        raise _refused(f"it needs '{text[1:60]}', which is not supported.")


def _parse_head(text: str) -> tuple[str, str]:
    match = _HEAD_LINE.fullmatch(text)
    if match is None:
        raise _refused("its header is broken.")
    return match[2], match[1]


def _some(heads: dict[str, str]) -> str:
    names = sorted(heads)
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def _refused(problem: str, remedy: str = BUNDLE_REMEDY) -> InvalidInput:
    return InvalidInput("bundle", problem, remedy=remedy)
