"""When keys were last used: noted in memory with each call, written in a batch, and never waited for by a call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from morningai.db.session import Database
from services.gateway.repository import keys as repository

log = structlog.get_logger()


class KeyUses:
    def __init__(self, database: Database, *, write_seconds: float) -> None:
        self._database = database
        self._write_seconds = write_seconds
        self._noted: dict[str, datetime] = {}

    def note(self, key_id: str) -> None:
        self._noted[key_id] = datetime.now(UTC)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._write_seconds)
            await self.write()

    async def write(self) -> None:
        """What cannot be written is lost: the next use says it again."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            await repository.note_key_uses(self._database, noted)
        except (OperationalError, PoolTimeout) as error:
            log.warning("gateway.key_uses.lost", count=len(noted), error=type(error).__name__)
