"""The steps of indexing: which files are new, reading them in a process pool, writing what was read."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from morningai.db.session import Database
from services.docs import index_rows
from services.docs.domain import FileEntry
from services.docs.git.store import GitStore
from services.docs.index_rows import ReadFile
from services.docs.reading.chunks import chunk_file
from services.docs.reading.facts import extract_facts
from services.docs.reading.files import decode

BATCH_FILES = 64
# A pool is worth its start only for more than a handful of files.
POOL_FROM_FILES = 8


async def read_new_files(
    store: GitStore,
    database: Database,
    proof: str,
    source_id: str,
    files: Sequence[FileEntry],
    on_progress: Callable[[float], None],
) -> None:
    """Read what no snapshot of the source has read, batch by batch; each batch is a transaction of its own."""
    async with database.tenant_session(proof) as session:
        unread = await index_rows.list_unread_files(session, source_id, files)
    executor = _executor(len(unread))
    try:
        for first in range(0, len(unread), BATCH_FILES):
            batch = unread[first : first + BATCH_FILES]
            read = await _read(store, executor, batch)
            async with database.tenant_session(proof) as session:
                await index_rows.insert_read_files(session, source_id, read)
            on_progress((first + len(batch)) / len(unread))
    finally:
        # In a thread: it waits for the batch at hand, and the loop has leases to renew.
        await asyncio.to_thread(executor.shutdown, cancel_futures=True)


def _executor(files: int) -> Executor:
    if files < POOL_FROM_FILES:
        return ThreadPoolExecutor(max_workers=1)
    # Spawned: a fork would copy the threads' locks of gRPC.
    return ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))


async def _read(store: GitStore, executor: Executor, batch: Sequence[tuple[str, str]]) -> list[ReadFile]:
    contents = {blob_hash: content async for blob_hash, content in store.read_blobs([hash_ for _, hash_ in batch])}
    pieces = [(path, blob_hash, contents[blob_hash]) for path, blob_hash in batch]
    return await asyncio.get_running_loop().run_in_executor(executor, read_files, pieces)


def read_files(pieces: Sequence[tuple[str, str, bytes]]) -> list[ReadFile]:
    """Chunks and facts of (path, blob hash, content); what is no text is left out. Runs in the pool."""
    return [file for piece in pieces if (file := _read_file(*piece))]


def _read_file(path: str, blob_hash: str, content: bytes) -> ReadFile | None:
    text = decode(content)
    chunks = chunk_file(path, text) if text else []
    if not text or not chunks:
        return None
    return ReadFile(path, blob_hash, text, tuple(chunks), tuple(extract_facts(path, text)))
