"""Signs what the bus believes about a subscriber: JWTs in NATS's form, with the nkey of the issuing account."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

import nkeys

HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class Issuer:
    """The key is derived from a secret that is kept like every other password."""

    def __init__(self, secret: str) -> None:
        raw = hashlib.sha256(f"morningai.bus.issuer|{secret}".encode()).digest()
        self._keys = nkeys.from_seed(bytearray(nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_ACCOUNT)))

    @property
    def public_key(self) -> str:
        return str(self._keys.public_key.decode())

    def sign(self, claims: Mapping[str, object], *, now: int) -> str:
        """`now` in seconds since 1970; issuer, time and id are added to the claims."""
        named = {**claims, "iss": self.public_key, "iat": now}
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).digest()
        named["jti"] = base64.b32encode(digest).decode().rstrip("=")
        signed = f"{_encode(json.dumps(HEADER).encode())}.{_encode(json.dumps(named).encode())}"
        return f"{signed}.{_encode(self._keys.sign(signed.encode()))}"


def claims_of(token: str) -> Mapping[str, object]:
    """The claims of a JWT, not verified; raises ValueError when it is none."""
    _, _, rest = token.partition(".")
    encoded, _, _ = rest.partition(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError as error:
        raise ValueError("not a JWT") from error
    if not isinstance(claims, dict):
        raise ValueError("not a JWT")
    return claims


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
