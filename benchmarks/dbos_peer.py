"""DBOS on the embedded PostgreSQL, running workflows of three queued children that do nothing.

`--polling-seconds` is how often its queue is looked at; its default is a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import psycopg
from dbos import DBOS, DBOSConfig

from benchmarks.peer import measure_peer
from morningai.embedded.postgres import EmbeddedPostgres, wait_until_ready

KINDS = ("answer", "faq", "change")
DATABASE = "dbos_peer"


QUEUE = "generators"


@DBOS.workflow()
async def generate(kind: str) -> str:
    return kind


@DBOS.workflow()
async def run_task() -> list[str]:
    handles = [await DBOS.enqueue_workflow_async(QUEUE, generate, kind) for kind in KINDS]
    return [await handle.get_result() for handle in handles]


async def main(polling_seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="mb-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        await server.start()
        try:
            await wait_until_ready(server)
            with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            await _measure(server, polling_seconds)
        finally:
            await server.stop()


async def _measure(server: EmbeddedPostgres, polling_seconds: float) -> None:
    url = server.admin_dsn(DATABASE).replace("postgresql://", "postgresql+psycopg://")
    DBOS(config=DBOSConfig(name="benchmark", system_database_url=url, log_level="ERROR"))
    DBOS.launch()
    await DBOS.register_queue_async(QUEUE, polling_interval_sec=polling_seconds)

    async def run_workflow() -> None:
        handle = await DBOS.start_workflow_async(run_task)
        await handle.get_result()

    await run_workflow()
    await measure_peer(run_workflow)
    await asyncio.to_thread(DBOS.destroy)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--polling-seconds", type=float, default=1.0)
    given, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    asyncio.run(main(given.polling_seconds))
    sys.stdout.flush()
    os._exit(0)  # its threads outlive it
