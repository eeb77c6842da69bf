"""A receiver of webhooks that writes down each post and what it answered; some of its answers can be made to fail."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.chaos.evidence import WEBHOOKS, Journal

# The status for the ordinal of a post, from 1.
Answer = Callable[[int], int]


def always_ok(ordinal: int) -> int:
    return 204


@contextmanager
def webhook_receiver(folder: Path, *, answer: Answer = always_ok) -> Iterator[str]:
    """Its base URL; a tenant's endpoint is at `{base}/{tenant slug}/{any name of the endpoint}`."""
    journal = Journal(folder, WEBHOOKS)
    lock = threading.Lock()
    posts = 0

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal posts
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:  # whoever posted has died in the middle of it
                return
            with lock:
                posts += 1
                status = answer(posts)
            _, tenant, endpoint = (*self.path.split("/", 2), "", "")[:3]
            journal.append(
                {
                    "time": time.time(),
                    "tenant": tenant,
                    "endpoint": endpoint,
                    "webhook_id": self.headers.get("webhook-id", ""),
                    "status": status,
                    "body": b64encode(body).decode(),
                    "headers": dict(self.headers.items()),
                }
            )
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """The journal says it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), name="webhooks", daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    journal.close()
