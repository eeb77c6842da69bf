"""Seals a credential for the one cell that stores it, with the tenant's data key; the first credential makes the key.

Works in the tenant's own session on the table `data_keys` of the service's schema. No plaintext or key is logged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from uuid import UUID, uuid4

from morningai.db.queries import load_queries
from morningai.db.session import Session
from morningai.secrets.key_ring import KeyRing
from morningai.secrets.sealed import KEY_BYTES, CannotOpen, key_id_of, open_sealed, seal

QUERIES = load_queries(__file__)


@dataclass(frozen=True)
class Cell:
    """Where a credential is stored; it opens nowhere else. `row_id` may hold more of the row that is to stay."""

    tenant_id: UUID
    table: str
    column: str
    row_id: UUID | str

    @property
    def parts(self) -> tuple[str, ...]:
        return "cell", str(self.tenant_id), self.table, self.column, str(self.row_id)


class Vault:
    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def seal(self, session: Session, cell: Cell, plaintext: bytes) -> bytes:
        row = await session.row(QUERIES["get_current_data_key"])
        if row is None:
            await self._make_data_key(session)
            row = await session.row(QUERIES["get_current_data_key"])
        assert row is not None
        data_key = self._ring.unwrap(row["wrapped"], tenant_id=session.tenant_id, data_key_id=row["data_key_id"])
        return seal(data_key, str(row["data_key_id"]), cell.parts, plaintext)

    async def open(self, session: Session, cell: Cell, sealed: bytes) -> bytes:
        """Raises CannotOpen."""
        row = await session.row(QUERIES["get_data_key"], {"data_key_id": data_key_id_of(sealed)})
        if row is None:
            raise CannotOpen
        return self.open_with(row["wrapped"], cell, sealed)

    def open_with(self, wrapped: bytes, cell: Cell, sealed: bytes) -> bytes:
        """For who has read the wrapped data key of `sealed` already. Raises CannotOpen."""
        data_key = self._ring.unwrap(wrapped, tenant_id=cell.tenant_id, data_key_id=data_key_id_of(sealed))
        return open_sealed(data_key, cell.parts, sealed)

    async def _make_data_key(self, session: Session) -> None:
        """Of two transactions that both make the first one, the second waits and makes none."""
        data_key_id = uuid4()
        wrapped = self._ring.wrap(os.urandom(KEY_BYTES), tenant_id=session.tenant_id, data_key_id=data_key_id)
        await session.execute(QUERIES["insert_data_key"], {"data_key_id": data_key_id, "wrapped": wrapped})


def data_key_id_of(sealed: bytes) -> UUID:
    """Raises CannotOpen."""
    try:
        return UUID(key_id_of(sealed))
    except ValueError as error:
        raise CannotOpen from error
