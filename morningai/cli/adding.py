"""Adding a source: a local repository is uploaded as a bundle, a remote one is registered by its URL."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from morningai.api.sources.v1 import sources_pb2 as api
from morningai.cli.gateway import Gateway
from morningai.cli.repository import LocalRepository, find_repository, upload_parts, write_bundle
from morningai.errors import InvalidInput

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*|[\w.-]+@[\w.-]+:.*")


def is_remote(location: str) -> bool:
    return _REMOTE.fullmatch(location) is not None


def add_remote(gateway: Gateway, source_id: str, uri: str) -> api.Source:
    source = api.Source(kind=api.SOURCE_KIND_REMOTE, remote_uri=uri)
    request = api.CreateSourceRequest(source=source, source_id=source_id)
    return gateway.call(gateway.sources.CreateSource, request, repeatable=False)


def add_local(gateway: Gateway, source_id: str, repository: LocalRepository) -> api.Source:
    with tempfile.TemporaryDirectory(prefix="morningai-bundle-") as folder:
        bundle = Path(folder) / "source.bundle"
        write_bundle(repository, bundle)
        return gateway.upload(lambda: upload_parts(source_id, repository, bundle))


def find_local(location: str) -> LocalRepository:
    if not location:
        raise InvalidInput("path", "is empty.", remedy="Give the folder of a git repository, or a URL.")
    return find_repository(Path(location).expanduser())
