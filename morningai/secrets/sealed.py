"""AES-256-GCM with what it belongs to bound in: the same bytes anywhere else do not open."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from morningai.errors import Permanent

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
# version, length of the key's id, the key's id; nonce and ciphertext follow.
VERSION = 1


class CannotOpen(Permanent):
    """Never says what was inside, nor which check failed."""

    reason = "SECRET_CANNOT_BE_OPENED"

    def __init__(self) -> None:
        super().__init__(
            "A stored secret cannot be opened.",
            remedy="Restore the key that sealed it, or store the secret again.",
        )


def seal(key: bytes, key_id: str, belongs_to: tuple[str, ...], plaintext: bytes) -> bytes:
    header = _header(key_id)
    nonce = os.urandom(NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, _bound(header, belongs_to))


def open_sealed(key: bytes, belongs_to: tuple[str, ...], sealed: bytes) -> bytes:
    """Raises CannotOpen."""
    header = _header(key_id_of(sealed))
    nonce, ciphertext = sealed[len(header) :][:NONCE_BYTES], sealed[len(header) + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, _bound(header, belongs_to))
    except InvalidTag as error:
        raise CannotOpen from error


def key_id_of(sealed: bytes) -> str:
    """The key that opens it. Raises CannotOpen."""
    if len(sealed) < 2 or sealed[0] != VERSION or len(sealed) < 2 + sealed[1] + NONCE_BYTES + TAG_BYTES:
        raise CannotOpen
    try:
        return sealed[2 : 2 + sealed[1]].decode("ascii")
    except UnicodeDecodeError as error:
        raise CannotOpen from error


def _header(key_id: str) -> bytes:
    encoded = key_id.encode("ascii")
    return bytes([VERSION, len(encoded)]) + encoded


def _bound(header: bytes, belongs_to: tuple[str, ...]) -> bytes:
    """Each part with its length, so that no two lists of parts are the same bytes."""
    parts = [part.encode() for part in belongs_to]
    return header + b"".join(len(part).to_bytes(4) + part for part in parts)
