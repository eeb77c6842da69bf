"""An identity provider in this process: keys made for the test, a key set over HTTP, and tokens of every kind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

ISSUER = "https://id.example.org"
AUDIENCE = "morningai"
ALGORITHMS = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}


@cache
def private_key(name: str, kind: str = "RS256") -> PrivateKeyTypes:
    """The same key for the same name: making RSA keys takes a while."""
    if kind == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate() if kind == "EdDSA" else rsa.generate_private_key(65537, 2048)


def public_jwk(key_id: str, kind: str = "RS256") -> dict[str, object]:
    public = private_key(key_id, kind).public_key()  # type: ignore[union-attr]
    algorithm = jwt.get_algorithm_by_name(kind)
    return {**algorithm.to_jwk(public, as_dict=True), "kid": key_id, "use": "sig", "alg": kind}  # type: ignore[call-overload]


@dataclass
class IdentityProvider:
    jwks_uri: str = ""
    key_set: bytes = b""
    status: int = 200
    fetches: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def publish(self, *keys: dict[str, object]) -> None:
        self.key_set = json.dumps({"keys": keys}).encode()

    def token(self, subject: str = "ada", *, key_id: str = "k1", kind: str = "RS256", **claims: object) -> str:
        """A claim that is None is left out."""
        return sign(claims_of(subject, **claims), key_id=key_id, kind=kind)


def claims_of(subject: str = "ada", **claims: object) -> dict[str, object]:
    now = int(time.time())
    given = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": now,
        "exp": now + 300,
        "email": f"{subject}@example.org",
        "email_verified": True,
        "name": subject.title(),
        **claims,
    }
    return {name: value for name, value in given.items() if value is not None}


def sign(claims: dict[str, object], *, key_id: str = "k1", kind: str = "RS256") -> str:
    return jwt.encode(claims, private_key(key_id, kind), algorithm=kind, headers={"kid": key_id})  # type: ignore[arg-type]


@contextmanager
def running_identity_provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    provider.publish(public_jwk("k1"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.fetches += 1
            self.send_response(provider.status)
            for name, value in provider.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(provider.key_set)))
            self.end_headers()
            self.wfile.write(provider.key_set)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        provider.jwks_uri = f"http://127.0.0.1:{server.server_port}/keys"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield provider
        server.shutdown()
        thread.join()
