"""Brings a source's commit onto this machine, from an uploaded bundle or from its remote, and a change to its remote;
one writer at a time."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from morningai.db.session import Database
from morningai.egress import AllowList, EgressGuard
from morningai.errors import InvalidInput, NotFound
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.credentials import open_credential
from services.docs.domain import Source, parse_remote
from services.docs.git.bundle import import_bundle
from services.docs.git.commit import Commit, make_commit
from services.docs.git.process import GitLimits
from services.docs.git.push import push_branch
from services.docs.git.remote import RemoteAccess, fetch_remote, read_branch
from services.docs.git.store import GitStore
from services.docs.settings import Settings

# Beside the slots for work, which nobody who is slow to answer keeps others from.
CHECK_SECONDS = 30.0


class SourceStores:
    """The git stores of this process: a cache per tenant and source under the work folder."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.folder = settings.work_dir / "git"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._limits = GitLimits(repository_bytes=settings.docs_repository_bytes)
        self._access = RemoteAccess(
            guard=EgressGuard(allowed=AllowList.parse(settings.docs_egress_allowed.split(","))),
            certificate_file=settings.docs_certificate_file,
            ssh_key_file=settings.docs_ssh_key_file,
            ssh_known_hosts_file=settings.docs_ssh_known_hosts_file,
        )
        self._vault = vault
        self._locks: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def store_of(self, tenant_id: UUID, source_id: str) -> AsyncIterator[GitStore]:
        """The source's repository, for its one writer."""
        store = self._store(tenant_id, source_id)
        async with self._locks[store.folder]:
            await store.create()
            yield store

    @asynccontextmanager
    async def store_for_upload(self, tenant_id: UUID, source_id: str) -> AsyncIterator[GitStore]:
        """As `store_of`; a repository that did not exist before is removed again when the upload fails."""
        store = self._store(tenant_id, source_id)
        async with self._locks[store.folder]:
            is_new = not store.folder.exists()
            try:
                await store.create()
                yield store
            except BaseException:
                if is_new:
                    await asyncio.to_thread(shutil.rmtree, store.folder, ignore_errors=True)
                raise

    async def check_remote(self, uri: str) -> None:
        """Raises InvalidInput for a transport or an address that is not allowed."""
        remote = parse_remote(uri)
        await self._access.guard.check(remote.host, remote.port, input_field="remote_uri")

    async def newest_commit(
        self, database: Database, proof: str, tenant_id: UUID, source: Source, *, branch: str
    ) -> str:
        """Where a branch of the source is now, the default one when empty. Fetches nothing.

        Raises InvalidInput and Unavailable.
        """
        if not source.remote_uri:
            if branch:
                raise InvalidInput("branch", "an uploaded source has none to choose.", remedy="Leave it out.")
            return source.commit
        async with database.tenant_session(proof) as session:
            credential = await open_credential(session, self._vault, source)
        remote = parse_remote(source.remote_uri)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            # Not the source's own store: its writer may be busy for minutes.
            store = GitStore(Path(scratch) / "empty.git", replace(self._limits, timeout_seconds=CHECK_SECONDS))
            await store.create()
            return await read_branch(remote, store, self._access, branch=branch, credential=credential)

    async def fetch(self, store: GitStore, database: Database, proof: str, source: Source, *, commit: str = "") -> str:
        """Bring a commit of the source into the store, else its newest, and return it. Raises NotFound."""
        if commit:
            await self._bring(store, database, proof, source, commit)
            await store.keep(await store.resolve_commit(commit))
            return commit
        if source.remote_uri:
            async with database.tenant_session(proof) as session:
                credential = await open_credential(session, self._vault, source)
            return await fetch_remote(
                parse_remote(source.remote_uri), store, self._access, revision=source.revision, credential=credential
            )
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            path = Path(scratch) / "upload.bundle"
            await _write_artifact(database, proof, source.bundle_digest, path)
            return await import_bundle(path, store, revision=source.revision)

    async def make_bundle(self, database: Database, proof: str, source: Source, commit: str, target: Path) -> None:
        """Write a bundle of one commit; fetches again when the cache was deleted."""
        async with database.tenant_session(proof) as session:
            tenant_id = session.tenant_id
        async with self.store_of(tenant_id, source.source_id) as store:
            await self._bring(store, database, proof, source, commit)
            await store.make_bundle(await store.resolve_commit(commit), target)

    async def make_commit(self, store: GitStore, database: Database, proof: str, source: Source, commit: Commit) -> str:
        """As `git.commit.make_commit`, where the store may have been deleted."""
        await self._bring(store, database, proof, source, commit.parent)
        return await make_commit(store, commit)

    async def push(
        self, store: GitStore, database: Database, proof: str, source: Source, *, commit: str, branch: str
    ) -> None:
        """As `git.push.push_branch`, with the credential of the source."""
        async with database.tenant_session(proof) as session:
            credential = await open_credential(session, self._vault, source)
        remote = parse_remote(source.remote_uri)
        await push_branch(remote, store, self._access, commit=commit, branch=branch, credential=credential)

    async def _bring(self, store: GitStore, database: Database, proof: str, source: Source, commit: str) -> None:
        """Where the cache was deleted: a remote still gives an older commit by its hash, a bundle only its history."""
        if not await store.has(commit):
            await self.fetch(store, database, proof, replace(source, revision=commit if source.remote_uri else "HEAD"))

    def _store(self, tenant_id: UUID, source_id: str) -> GitStore:
        return GitStore(self.folder / str(tenant_id) / source_id, self._limits)


async def _write_artifact(database: Database, proof: str, digest: str, path: Path) -> None:
    checksum = hashlib.sha256()
    with path.open("wb") as file:
        ordinal = 0
        while True:
            async with database.tenant_session(proof) as session:
                pieces = await repository.list_artifact_pieces(session, digest, first=ordinal, limit=8)
            if not pieces:
                break
            for piece in pieces:
                checksum.update(piece)
                file.write(piece)
            ordinal += len(pieces)
    if checksum.hexdigest() != digest:
        raise NotFound("artifact", digest, remedy="Upload the source again.")
