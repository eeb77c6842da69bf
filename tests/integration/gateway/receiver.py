"""A real HTTP endpoint for webhooks: remembers what it received, and answers as a test says."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, object]:
        """The content, if the signature is right. Raises WebhookVerificationError."""
        content: dict[str, object] = Webhook(secret).verify(self.body, self.headers)
        return content


# Writes an answer of its own; gets the handler.
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Receiver:
    """`answers` come first, one each; then `answer`: a status, or a function that answers."""

    port: int = 0
    scheme: str = "http"
    answer: int | Answer = 200
    answers: list[int | Answer] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [one.webhook_id for one in self.received]

    def take(self, request: Received) -> int | Answer:
        with self.lock:
            self.received.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.answers.pop(0) if self.answers else self.answer

    def done(self) -> None:
        with self.lock:
            self.at_once -= 1


def answering(status: int, *, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def after(seconds: float, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        answering(status)(handler)

    return answer


def once(gate: threading.Event, status: int = 200) -> Answer:
    """Answers when the gate opens."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        gate.wait(20)
        answering(status)(handler)

    return answer


def endless(taken: list[int]) -> Answer:
    """200, and a body of 500 MB; `taken` says how many bytes of it the caller took, or its buffers."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(5000):
            handler.wfile.write(b"x" * 100_000)
            taken.append(100_000)

    return answer


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = receiver.take(Received(self.path, headers, body))
            self.close_connection = True
            with suppress(OSError):
                (answering(answer) if isinstance(answer, int) else answer)(self)
            receiver.done()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A caller that hangs up, or refuses the certificate, is no error of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
