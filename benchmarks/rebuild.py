"""How long `morningai bus rebuild` takes for 10,000 open tasks, until every message that the bus had lost is out again.

Each open task waits for three generators whose commands nobody has received; beside them lie the commands of finished
tasks, which were received. `python -m benchmarks.rebuild` exits with 1 when the limit is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from rich.console import Console

from benchmarks.processes import describe_machine, load
from benchmarks.report import Figure, print_figures
from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import broker
from morningai.bus.losses import rebuild
from morningai.bus.outbox import command
from morningai.bus.permissions import BUS_OWNER, SERVICES
from morningai.bus.relay import Relay
from morningai.bus.server_config import BUS_SECRETS, nats_authorization
from morningai.bus.topology import ensure_topology
from morningai.db.migrate import LOGINS, ensure_operator_key, migrate
from morningai.embedded.nats import EmbeddedNats
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.settings import ServiceSettings

LONGEST_SECONDS = 60.0
PASSWORD = "benchmark"
OPERATOR_KEY = "op_benchmark.benchmark"
DATABASE = "benchmark"
COMMANDS = (
    ("faqgen", events.GenerateAnswer(instruction="Why?")),
    ("docs", events.GenerateDocument(instruction="Why?")),
    ("codegen", events.GenerateChange(instruction="Why?")),
)
TENANT = "SELECT tenancy.create_tenant('acme', 'Acme', 'mk_benchmark', 'secret', ARRAY['tasks.write'])"
TASKS = """
INSERT INTO kernel.tasks (tenant_id, task_id, principal, closed_at)
SELECT %s, gen_random_uuid(), 'key:mk_benchmark', CASE WHEN number > %s THEN now() END
FROM generate_series(1, %s::integer) AS number
"""
# In sessions of the tenant, so that every row has its seal, as the orchestrator's have.
SEND = """
INSERT INTO outbox (task_id, type, subject, body, traceparent, published_at)
SELECT task_id, %(type)s, %(subject)s, %(body)s, %(traceparent)s, now() FROM unnest(%(tasks)s::uuid[]) AS task_id
"""
RECEIVE = """
INSERT INTO {receiver}.inbox (tenant_id, message_id, consumer, type)
SELECT o.tenant_id, o.id, 'work', o.type FROM orchestrator.outbox AS o JOIN kernel.tasks AS t USING (tenant_id, task_id)
WHERE o.subject = %s AND t.closed_at IS NOT NULL
"""
LEFT = "SELECT count(*) FROM orchestrator.outbox WHERE published_at IS NULL"


@asynccontextmanager
async def running_servers(folder: Path) -> AsyncIterator[tuple[EmbeddedPostgres, EmbeddedNats]]:
    postgres = EmbeddedPostgres(folder / "postgres")
    nats = EmbeddedNats(folder / "nats", None, nats_authorization(dict.fromkeys(BUS_SECRETS, PASSWORD)))
    async with AsyncExitStack() as stack:
        for server in (postgres, nats):
            await server.start()
            stack.push_async_callback(server.stop)
            while not await server.healthy():  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a server has no event to wait for
        yield postgres, nats


def prepare(postgres: EmbeddedPostgres, *, open_tasks: int, finished: int) -> str:
    """Fill a database as the services leave it, and return its administrator's connection string."""
    with psycopg.connect(postgres.admin_dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
    dsn = postgres.admin_dsn(DATABASE)
    migrate(dsn, dict.fromkeys(LOGINS, PASSWORD))
    ensure_operator_key(dsn, OPERATOR_KEY)
    with psycopg.connect(login(dsn, "tenancy_app")) as tenancy:
        tenancy.execute("SELECT kernel.open_session(tenancy.authenticate(%s))", (OPERATOR_KEY,))
        tenant_id = only(tenancy, TENANT)
    with psycopg.connect(login(dsn, "gateway_app")) as gateway:
        grant = only(gateway, "SELECT tenancy.authenticate('mk_benchmark.secret')")
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(TASKS, (tenant_id, open_tasks, open_tasks + finished))
        tasks = [row[0] for row in admin.execute("SELECT task_id FROM kernel.tasks").fetchall()]
        send(dsn, str(grant), tasks)
        for receiver, message in COMMANDS:
            admin.execute(RECEIVE.format(receiver=receiver), (command(message, to=receiver).subject,))  # type: ignore[arg-type]
        admin.execute("VACUUM ANALYZE")
    return dsn


def send(dsn: str, grant: str, tasks: list[object]) -> None:
    with psycopg.connect(login(dsn, "orchestrator_app")) as orchestrator:
        orchestrator.execute("SELECT kernel.open_session(%s)", (grant,))
        for receiver, message in COMMANDS:
            row = vars(command(message, to=receiver))
            orchestrator.execute(SEND, row | {"tasks": tasks})


def login(dsn: str, user: str) -> str:
    return make_conninfo(dsn, user=user, password=PASSWORD)


def only(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def settings_of(service: str, dsn: str, nats: EmbeddedNats) -> ServiceSettings:
    return ServiceSettings(
        database_dsn=login(dsn, f"{service}_app"),
        relay_dsn=login(dsn, f"{service}_relay"),
        nats_url=nats.url,
        nats_user=service,
        nats_password=PASSWORD,
        grpc_address="",
        work_dir=Path("/tmp"),
    )


async def measure(folder: Path, *, open_tasks: int, finished: int) -> tuple[int, float, float]:
    """Messages sent again, seconds until they were marked, and until the last was out."""
    async with running_servers(folder) as (postgres, nats):
        dsn = await asyncio.to_thread(prepare, postgres, open_tasks=open_tasks, finished=finished)
        owner, jetstream = await broker.connect(BUS_OWNER, settings_of(BUS_OWNER, dsn, nats))
        await ensure_topology(jetstream, ack_wait_seconds=30, services=SERVICES)
        connected, relayed = await broker.connect("orchestrator", settings_of("orchestrator", dsn, nats))
        relaying = asyncio.create_task(Relay("orchestrator", login(dsn, "orchestrator_relay"), relayed).run())
        began = time.monotonic()
        count = await asyncio.to_thread(rebuild, dsn)
        marked = time.monotonic() - began
        await _until_out(dsn)
        out = time.monotonic() - began
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
        await connected.stop()
        await owner.stop()
    return count, marked, out


async def _until_out(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        while True:
            row = await (await admin.execute(LEFT)).fetchone()
            if row == (0,):
                return
            await asyncio.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open-tasks", type=int, default=10_000)
    parser.add_argument("--finished", type=int, default=20_000, help="finished tasks, whose messages were received")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    before = load()
    with tempfile.TemporaryDirectory(prefix="rebuild-") as folder:
        count, marked, out = asyncio.run(
            measure(Path(folder), open_tasks=arguments.open_tasks, finished=arguments.finished)
        )
    if count != len(COMMANDS) * arguments.open_tasks:
        print(f"{count} messages were sent again, not three of each open task.", file=sys.stderr)
        return 1
    figures = [
        Figure("until every lost message is out again", "s", (out,), limit=LONGEST_SECONDS, note=f"{count} messages"),
        Figure("until they were found and marked", "s", (marked,)),
        Figure("messages a second, published", "/s", (count / max(out - marked, 0.001),)),
    ]
    if arguments.json:
        print(json.dumps({"load": [before, load()], "figures": [figure.to_json() for figure in figures]}))
    else:
        console = Console()
        console.print(f"{describe_machine()}; load {before} before, {load()} after")
        print_figures(console, figures)
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
