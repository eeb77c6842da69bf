"""Uploads: a bundle arrives in pieces, is checked by git, and becomes rows in one transaction."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from morningai.db.session import Session
from morningai.errors import AlreadyExists, InvalidInput
from services.docs import repository
from services.docs.domain import Source

PIECE_BYTES = 1024 * 1024
MEDIA_TYPE = "application/x-git-bundle"


@dataclass(frozen=True, slots=True)
class Upload:
    """A bundle on disk while its call lasts."""

    path: Path
    digest: str
    size_bytes: int


@asynccontextmanager
async def received(pieces: AsyncIterator[bytes], folder: Path, *, most_bytes: int) -> AsyncIterator[Upload]:
    """Raises InvalidInput for an empty or too large upload."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path, checksum, size_bytes = Path(scratch) / "upload.bundle", hashlib.sha256(), 0
        with path.open("wb") as file:
            async for piece in pieces:
                size_bytes += len(piece)
                if size_bytes > most_bytes:
                    raise InvalidInput(
                        "bundle", f"is larger than {most_bytes} bytes.", remedy="Ask the operator to raise the limit."
                    )
                checksum.update(piece)
                file.write(piece)
        if not size_bytes:
            raise InvalidInput("bundle", "is empty.", remedy="Send `git bundle create - HEAD` in pieces.")
        yield Upload(path, checksum.hexdigest(), size_bytes)


async def keep_upload(session: Session, upload: Upload, *, source_id: str, repository_name: str, commit: str) -> Source:
    """Store the bundle and point the source to it. Raises AlreadyExists for a remote source of that name."""
    if await repository.insert_artifact(
        session, digest=upload.digest, media_type=MEDIA_TYPE, size_bytes=upload.size_bytes
    ):
        with upload.path.open("rb") as file:
            for ordinal, piece in enumerate(iter(lambda: file.read(PIECE_BYTES), b"")):
                await repository.insert_artifact_piece(session, upload.digest, ordinal, piece)
    kept = {"source_id": source_id, "repository": repository_name, "bundle_digest": upload.digest, "commit": commit}
    source = await repository.insert_source(session, **kept) or await repository.replace_bundle(session, **kept)
    if source is None:
        raise AlreadyExists("source", f"sources/{source_id}", remedy="It is a remote one; choose another name.")
    return source
