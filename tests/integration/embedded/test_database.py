from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg_pool import PoolTimeout

from morningai.db.session import Database
from morningai.embedded.postgres import EmbeddedPostgres

# The pool's tries without a limit come after 1, 3, 7, 15 and 31 seconds.
AWAY_SECONDS = 18.0
BACK_SECONDS = 6.0


async def ask(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("SELECT pg_sleep(0.05)")


async def keep_asking(database: Database) -> None:
    while True:
        with suppress(psycopg.OperationalError, PoolTimeout, TimeoutError):
            async with asyncio.timeout(2):
                await ask(database)
        await asyncio.sleep(0.2)


async def start(server: EmbeddedPostgres) -> None:
    await server.start()
    while not await server.healthy():  # noqa: ASYNC110  a server has no event to wait for
        await asyncio.sleep(0.05)


async def test_a_database_that_comes_back_is_used_at_once_however_long_it_was_away():
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        await start(server)
        database = Database(server.admin_dsn())
        await database.open()
        await asyncio.gather(*(ask(database) for _ in range(8)))
        asking = [asyncio.create_task(keep_asking(database)) for _ in range(4)]
        await server.stop()
        await asyncio.sleep(AWAY_SECONDS)
        for each in asking:
            each.cancel()
        await start(server)
        began = time.monotonic()
        await ask(database)
        assert time.monotonic() - began < BACK_SECONDS
        await database.close()
        await server.stop()
