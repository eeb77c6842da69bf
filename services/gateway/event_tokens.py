"""Resume tokens: a place in one tenant's feed that nobody else can read, write or use.

The same place is the same token on every replica. AES-SIV, because a random nonce would run out of safe values.
"""

from __future__ import annotations

import base64
import binascii
import struct
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from morningai.errors import InvalidInput
from morningai.secrets.key_ring import KeyRing
from services.gateway.domain.events import FeedPlace

PURPOSE = "tokens of event feeds"
AESSIV_KEY_BYTES = 64
PLACE = struct.Struct(">QQ")
REMEDY = "Give the token of a response as it was, or none."


class EventTokens:
    def __init__(self, keys: KeyRing) -> None:
        derived = keys.derived(PURPOSE, key_bytes=AESSIV_KEY_BYTES)
        self._ciphers = {key_id: AESSIV(key) for key_id, key in derived.items()}
        self._current = keys.current

    def write(self, tenant_id: UUID, place: FeedPlace) -> str:
        sealed = self._ciphers[self._current].encrypt(PLACE.pack(*place), [tenant_id.bytes])
        return f"{self._current}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def read(self, tenant_id: UUID, token: str) -> FeedPlace:
        """Raises InvalidInput, which is the same for a token of another tenant and for one that is none."""
        key_id, _, encoded = token.partition(".")
        try:
            sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            return FeedPlace(*PLACE.unpack(self._ciphers[key_id].decrypt(sealed, [tenant_id.bytes])))
        except (KeyError, InvalidTag, ValueError, binascii.Error, struct.error) as error:
            raise InvalidInput("after_token", "is not one of this feed.", remedy=REMEDY) from error
