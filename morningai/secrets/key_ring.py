"""The key-encryption keys of one service: the first wraps, all unwrap."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import AfterValidator, SecretStr

from morningai.secrets.sealed import KEY_BYTES, CannotOpen, key_id_of, open_sealed, seal

# The services that store credentials of tenants: each has a ring of its own.
KEEPERS = ("gateway", "docs", "tenancy")
KEY_ID = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True)
class KeyRing:
    """Written as `id:key,id:key` with keys of 32 bytes in base64; the first is the current one."""

    current: str
    _keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Raises ValueError, which never quotes a key."""
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(text.strip().split(","), start=1):
            key_id, _, encoded = entry.strip().partition(":")
            if not KEY_ID.fullmatch(key_id) or key_id in keys:
                raise ValueError(f"key {number} has no id of its own: write id:key, with an id of a-z, 0-9 and '-'")
            keys[key_id] = _key(key_id, encoded)
        return cls(next(iter(keys)), keys)

    def wrap(self, data_key: bytes, *, tenant_id: UUID, data_key_id: UUID) -> bytes:
        return seal(self._keys[self.current], self.current, _belongs_to(tenant_id, data_key_id), data_key)

    def unwrap(self, wrapped: bytes, *, tenant_id: UUID, data_key_id: UUID) -> bytes:
        """Raises CannotOpen, also for a key that is not on the ring any more."""
        key = self._keys.get(key_id_of(wrapped))
        if key is None:
            raise CannotOpen
        return open_sealed(key, _belongs_to(tenant_id, data_key_id), wrapped)

    def derived(self, purpose: str, *, key_bytes: int) -> dict[str, bytes]:
        """Keys for another use than sealing, by the ids of those that they are made of; the current one is first."""
        return {key_id: _derived(key, purpose, key_bytes) for key_id, key in self._keys.items()}

    def is_current(self, wrapped: bytes) -> bool:
        return key_id_of(wrapped) == self.current


def _derived(key: bytes, purpose: str, key_bytes: int) -> bytes:
    return HKDF(hashes.SHA256(), key_bytes, salt=None, info=purpose.encode()).derive(key)


def _checked(keys: SecretStr) -> SecretStr:
    KeyRing.parse(keys.get_secret_value())
    return keys


# A setting: a KeyRing as people write it.
SecretKeys: TypeAlias = Annotated[SecretStr, AfterValidator(_checked)]


def make_key(key_id: str) -> str:
    """A new key as the setting holds it."""
    return f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def _key(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {key_id} is not {KEY_BYTES} bytes in base64")
    return key


def _belongs_to(tenant_id: UUID, data_key_id: UUID) -> tuple[str, ...]:
    return "data key", str(tenant_id), str(data_key_id)
