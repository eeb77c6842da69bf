"""Git over https for one repository, the way a forge serves it and takes what is pushed, and what was sent to it."""

from __future__ import annotations

import base64
import gzip
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from morningai.egress import AllowList, EgressGuard
from services.docs.domain import Remote, parse_remote
from services.docs.git.remote import RemoteAccess

HOST = "git.invalid"  # no resolver knows it: only a pinned address can be reached
ADDRESS = "127.0.0.1"


@dataclass
class GitServer:
    """Serves the repository as `project` to anybody and as `private` to whoever knows the username and the token.

    What begins with `moved` is moved to `target`, without a question; with `guarded`, once the credential came.
    """

    port: int
    certificate_file: Path
    username: str = "git"
    token: str = ""
    target: str = "/project"
    # What it says instead of an answer to whoever it knows.
    error: str = ""
    # Whether it takes what is pushed.
    is_read_only: bool = False
    requests: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    # Of the processes that ran when a request came: their command lines and environments.
    processes: set[bytes] = field(default_factory=set)

    def remote(self, path: str) -> Remote:
        return parse_remote(f"https://{HOST}:{self.port}/{path}")

    def access(self) -> RemoteAccess:
        async def resolver(host: str, port: int) -> list[str]:
            return [ADDRESS]

        guard = EgressGuard(AllowList.parse([HOST]), resolver)
        return RemoteAccess(guard=guard, certificate_file=self.certificate_file)

    def note(self, path: str, authorization: str) -> None:
        self.requests.append(path)
        if authorization:
            self.authorizations.append(authorization)
        if self.token:
            self.processes |= set(_processes())

    @property
    def expected(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.token}".encode()).decode()


def _processes() -> Iterator[bytes]:
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                yield (folder / name).read_bytes()
            except OSError:
                continue


@contextmanager
def serving_git(repository: Path, folder: Path) -> Iterator[GitServer]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:{ADDRESS}", "-keyout", str(key), "-out",
         str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = GitServer(0, certificate)
    listener = ThreadingHTTPServer((ADDRESS, 0), _handler(repository, server))
    server.port = listener.server_address[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    listener.shutdown()
    thread.join()
    listener.server_close()


def _packet(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


def _handler(repository: Path, server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            server.note(self.path, self.headers.get("Authorization", ""))
            if self.path.startswith(("/private", "/guarded")) and not self._is_known():
                self._refuse()
            elif self.path.startswith(("/moved", "/guarded")):
                self._end(302, Location=f"{server.target}{self.path[self.path.index('/info') :]}")
            elif self.path.startswith(("/project/info/refs", "/private/info/refs")):
                said = f"ERR {server.error}".encode()
                service = self.path.rpartition("=")[2]
                if self._is_refused(service):
                    return
                announced = _packet(f"# service={service}\n".encode()) + b"0000"
                refs = _packet(said) if server.error else self._serve(service, "--advertise-refs")
                self._answer(service, announced + refs)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            server.note(self.path, self.headers.get("Authorization", ""))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/private") and not self._is_known():
                self._refuse()
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            service = self.path.rpartition("/")[2]
            if not self._is_refused(service):
                self._answer(service, self._serve(service, stdin=body))

        def _is_refused(self, service: str) -> bool:
            refused = server.is_read_only and service == "git-receive-pack"
            if refused:
                self._end(403)
            return refused

        def _is_known(self) -> bool:
            return bool(server.token) and self.headers.get("Authorization") == server.expected

        def _refuse(self) -> None:
            self._end(401, **{"WWW-Authenticate": 'Basic realm="x"'})

        def _end(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def _serve(self, service: str, *options: str, stdin: bytes = b"") -> bytes:
            environment = {**os.environ, "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
            command = ["git", service.removeprefix("git-"), "--stateless-rpc", *options, str(repository)]
            return subprocess.run(command, input=stdin, env=environment, capture_output=True, check=True).stdout

        def _answer(self, service: str, body: bytes) -> None:
            kind = "advertisement" if self.command == "GET" else "result"
            self.send_response(200)
            self.send_header("Content-Type", f"application/x-{service}-{kind}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
