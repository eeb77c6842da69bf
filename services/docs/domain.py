"""The words of docs: sources and their remotes, files at a commit, chunks, facts. Pure.

Invariant: a `Remote` holds a URI that names a public transport, a host and a path, and nothing a program could take for
an option or a credential.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from difflib import unified_diff
from typing import Literal
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from morningai.errors import InvalidInput
from morningai.evidence.model import Claim

LONGEST_URI = 2048
DEFAULT_USERNAME = "git"
LONGEST_USERNAME = 200
# Together they fit into the smallest pipe, so that handing them to git never waits.
LONGEST_TOKEN = 3000
SHORTEST_TOKEN = 8
DEFAULT_PORTS = {"https": 443, "ssh": 22}
REMOTE_REMEDY = "Use https://host/path or ssh://user@host/path."

FactKind = Literal[
    "service",
    "module",
    "rpc_service",
    "table",
    "route",
    "compose_service",
    "heading",
    "dependency",
    "command",
]

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,38}[a-z0-9]")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_HOST = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PATH = re.compile(r"/[A-Za-z0-9._~%@:!$&()*+,;=/-]+")
_SCP_LIKE = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+):(?P<path>[^/:][^:]*)")


@dataclass(frozen=True, slots=True)
class Remote:
    """A git remote that may be fetched once its host passed the egress guard."""

    uri: str
    scheme: Literal["https", "ssh"]
    host: str
    port: int
    user: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What an https remote asks for."""

    username: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file of one commit."""

    path: str
    blob_hash: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one file: `text` is the lines start_line..end_line (1-based, inclusive) joined by a newline."""

    path: str
    symbol: str
    start_line: int
    end_line: int
    text: str


@dataclass(frozen=True, slots=True)
class FileFact:
    """A named part that a file declares; `quote` is the lines start_line..end_line verbatim."""

    kind: FactKind
    name: str
    start_line: int
    end_line: int
    quote: str


def parse_source_id(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise InvalidInput(
            "source_id",
            f"'{value[:80]}' is no source name.",
            remedy="Use 3 to 40 of a-z, 0-9 and '-', with no hyphen at either end.",
        )
    return value


def parse_revision(value: str) -> str:
    """HEAD, a branch, a tag or a full commit hash; empty means HEAD."""
    revision = value or "HEAD"
    if not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith((".lock", "/", ".")):
        raise InvalidInput(
            "revision", f"'{value[:80]}' is no revision.", remedy="Use a branch, a tag or a commit hash."
        )
    return revision


def parse_credential(username: str, token: str) -> Credential:
    """Raises InvalidInput, which never quotes the token."""
    name = username or DEFAULT_USERNAME
    if len(name) > LONGEST_USERNAME or not _is_printable(name) or ":" in name:
        raise InvalidInput(
            "username",
            "is no name that git can send.",
            remedy=f"Use at most {LONGEST_USERNAME} printable ASCII characters without ':'.",
        )
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not _is_printable(token):
        raise InvalidInput(
            "token",
            "is no token that git can send.",
            remedy=f"Use {SHORTEST_TOKEN} to {LONGEST_TOKEN} printable ASCII characters, without a line break.",
        )
    return Credential(name, token)


def _is_printable(value: str) -> bool:
    return value.isascii() and value.isprintable()


def is_commit(value: str) -> bool:
    return _COMMIT.fullmatch(value) is not None


def parse_remote(uri: str) -> Remote:
    """Raises InvalidInput("remote_uri") for anything but an https or ssh URI without a secret."""
    if not uri or len(uri) > LONGEST_URI or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise _refused("is empty, too long or has characters outside printable ASCII.")
    if uri.startswith("-"):
        raise _refused("looks like an option.")
    if "::" in uri.split("/", 1)[0]:
        raise _refused("names a transport helper.")
    if "://" not in uri:
        raise _refused("has no scheme.", _remedy_without_scheme(uri))
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise _refused("cannot be parsed.") from error
    return _checked_remote(parts, port)


def _checked_remote(parts: SplitResult, port: int | None) -> Remote:
    scheme = _checked_scheme(parts.scheme)
    host = _checked_host(parts)
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path) or "/-" in parts.path[:2]:
        raise _refused("has no plain path of a repository.")
    if port == 0:
        raise _refused("has no usable port.")
    user = _checked_user(parts, scheme)
    shown_host = f"[{host}]" if ":" in host else host
    authority = f"{user}@{shown_host}" if user else shown_host
    effective_port = port or DEFAULT_PORTS[scheme]
    suffix = "" if effective_port == DEFAULT_PORTS[scheme] else f":{effective_port}"
    uri = f"{scheme}://{authority}{suffix}{parts.path}"
    return Remote(uri=uri, scheme=scheme, host=host, port=effective_port, user=user)


def _checked_scheme(scheme: str) -> Literal["https", "ssh"]:
    if scheme == "https":
        return "https"
    if scheme == "ssh":
        return "ssh"
    raise _refused(f"uses the transport '{scheme[:20]}', which is not allowed.")


def _checked_host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    pattern = _IPV6 if ":" in host else _HOST
    if not pattern.fullmatch(host):
        raise _refused("has no valid host.")
    return host


def _checked_user(parts: SplitResult, scheme: str) -> str:
    user = parts.username or ""
    if parts.password is not None or (user and scheme == "https"):
        raise _refused("carries credentials.", "Remove them from the URI; a secret in it would be stored and shown.")
    if user and not _USER.fullmatch(user):
        raise _refused("has no valid user.")
    return user


def _remedy_without_scheme(uri: str) -> str:
    scp_like = _SCP_LIKE.fullmatch(uri)
    if scp_like and not scp_like["host"].startswith("-"):
        return f"Write it as ssh://{scp_like['user'] or 'git'}@{scp_like['host']}/{scp_like['path']}."
    return f"{REMOTE_REMEDY} A repository on your own machine is uploaded: `morningai source add NAME PATH`."


def _refused(problem: str, remedy: str = REMOTE_REMEDY) -> InvalidInput:
    return InvalidInput("remote_uri", problem, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Source:
    """A source as it is kept; `remote_uri` and `bundle_digest` are empty for the other kind."""

    source_id: str
    kind: Literal["remote", "upload"]
    repository: str
    remote_uri: str
    revision: str
    bundle_digest: str
    state: str
    commit: str
    file_count: int
    chunk_count: int
    created_at: datetime
    updated_at: datetime
    credential_username: str = ""
    credential_set_at: datetime | None = None

    @property
    def name(self) -> str:
        return f"sources/{self.source_id}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a source; `ready` once it can be searched."""

    snapshot_id: UUID
    source_id: str
    repository: str
    commit: str
    ready: bool
    file_count: int
    chunk_count: int

    @property
    def name(self) -> str:
        return f"snapshots/{self.snapshot_id}"


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document at one version; `content` and `claims` are empty in lists."""

    document_id: UUID
    title: str
    source_id: str
    version: int
    published_version: int | None
    content: str
    content_hash: str
    claims: tuple[Claim, ...]
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime

    @property
    def label(self) -> str:
        return f"documents/{self.document_id}@{self.version}"


def diff_of(old: str, new: str, *, old_label: str, new_label: str) -> str:
    """As unified diffs are written; empty when nothing differs."""
    return "".join(
        line if line.endswith("\n") else f"{line}\n"
        for line in unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), old_label, new_label)
    )
