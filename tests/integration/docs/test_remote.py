from __future__ import annotations

import gzip
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from morningai.egress import AllowList, EgressGuard
from morningai.errors import InvalidInput, Unavailable
from services.docs.domain import Remote, parse_remote
from services.docs.git.process import GitLimits
from services.docs.git.remote import RemoteAccess, fetch_remote
from services.docs.git.store import GitStore

if TYPE_CHECKING:
    from conftest import Project

HOST = "git.invalid"  # no resolver knows it: only a pinned address can be reached


@dataclass
class GitServer:
    """Git over https for one repository, the way a forge serves it."""

    port: int
    certificate_file: Path
    requests: list[str] = field(default_factory=list)

    def remote(self, path: str) -> Remote:
        return parse_remote(f"https://{HOST}:{self.port}/{path}")

    def access(self) -> RemoteAccess:
        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        guard = EgressGuard(AllowList.parse([HOST]), resolver)
        return RemoteAccess(guard=guard, certificate_file=self.certificate_file)


def make_handler(folder: Path, requests: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            requests.append(self.path)
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", self.path.replace("/moved", "/project"))
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/private"):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/project/info/refs"):
                self._answer(b"001e# service=git-upload-pack\n0000" + self._upload_pack("--advertise-refs"))
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            requests.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self._answer(self._upload_pack(stdin=body))

        def _upload_pack(self, *options: str, stdin: bytes = b"") -> bytes:
            environment = {**os.environ, "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
            command = ["git", "upload-pack", "--stateless-rpc", *options, str(folder)]
            return subprocess.run(command, input=stdin, env=environment, capture_output=True, check=True).stdout

        def _answer(self, body: bytes) -> None:
            kind = "advertisement" if self.command == "GET" else "result"
            self.send_response(200)
            self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def server(project: Project, tmp_path: Path) -> Iterator[GitServer]:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out",
         str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    requests: list[str] = []
    listener = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(project.folder, requests))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield GitServer(listener.server_address[1], certificate, requests)
    listener.shutdown()
    thread.join()
    listener.server_close()


async def test_a_remote_is_fetched_to_a_commit_from_the_pinned_address(
    project: Project, server: GitServer, store: GitStore
) -> None:
    commit = await fetch_remote(server.remote("project"), store, server.access())
    assert commit == project.git("rev-parse", "HEAD")
    assert [file.path for file in await store.list_files(commit)] == ["README.md", "greet.py", "ü/é.txt"]


@pytest.mark.parametrize("revision", ["v1", "HEAD"])
async def test_a_tag_is_fetched_as_its_commit(
    project: Project, server: GitServer, store: GitStore, revision: str
) -> None:
    commit = await fetch_remote(server.remote("project"), store, server.access(), revision=revision)
    assert commit == project.git("rev-parse", f"{revision}^{{commit}}")


async def test_a_commit_hash_is_fetched(project: Project, server: GitServer, store: GitStore) -> None:
    first = project.git("rev-parse", "HEAD~1")
    assert await fetch_remote(server.remote("project"), store, server.access(), revision=first) == first


async def test_a_second_fetch_brings_the_new_commit(project: Project, server: GitServer, store: GitStore) -> None:
    await fetch_remote(server.remote("project"), store, server.access())
    commit = project.commit({"new.txt": "new\n"})
    assert await fetch_remote(server.remote("project"), store, server.access()) == commit


async def test_a_redirect_is_not_followed(server: GitServer, store: GitStore) -> None:
    with pytest.raises(InvalidInput, match="redirects"):
        await fetch_remote(server.remote("moved"), store, server.access())
    assert all(request.startswith("/moved") for request in server.requests)


@pytest.mark.parametrize(
    ("path", "revision", "field", "problem"),
    [
        ("private", "HEAD", "remote_uri", "credential"),
        ("missing", "HEAD", "remote_uri", "no repository"),
        ("project", "nope", "revision", "no such revision"),
    ],
)
async def test_a_remote_that_cannot_be_read_says_why(
    server: GitServer, store: GitStore, path: str, revision: str, field: str, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem) as refused:
        await fetch_remote(server.remote(path), store, server.access(), revision=revision)
    assert refused.value.field == field


async def test_an_internal_remote_is_refused_before_git_connects(server: GitServer, store: GitStore) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    access = RemoteAccess(guard=EgressGuard(resolver=resolver), certificate_file=server.certificate_file)
    with pytest.raises(InvalidInput, match="internal"):
        await fetch_remote(server.remote("project"), store, access)
    assert server.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused(server: GitServer, store: GitStore) -> None:
    access = RemoteAccess(guard=server.access().guard)
    with pytest.raises(InvalidInput, match="certificate"):
        await fetch_remote(server.remote("project"), store, access)


async def test_a_repository_above_the_size_limit_is_refused(
    project: Project, server: GitServer, tmp_path: Path
) -> None:
    (project.folder / "noise").write_bytes(os.urandom(400_000))
    project.commit({"more.txt": "more\n"})
    small = GitStore(tmp_path / "small.git", GitLimits(repository_bytes=100_000))
    await small.create()
    with pytest.raises(InvalidInput, match="larger than allowed"):
        await fetch_remote(server.remote("project"), small, server.access())


async def test_a_remote_that_is_down_is_tried_again(store: GitStore, server: GitServer) -> None:
    with pytest.raises(Unavailable):
        await fetch_remote(parse_remote(f"https://{HOST}:1/project"), store, server.access())


async def test_an_ssh_host_without_a_known_key_is_refused(store: GitStore, server: GitServer) -> None:
    with pytest.raises((InvalidInput, Unavailable)):
        await fetch_remote(parse_remote(f"ssh://git@{HOST}:{server.port}/project"), store, server.access())
