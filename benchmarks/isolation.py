"""What row level security with a verified proof costs: one page of tasks, against the same query with a plain WHERE.

Both run the product's own statement in the same shape of transaction, in turn, over a million rows of 1,000 tenants.
`python -m benchmarks.isolation` prints a table and exits with 1 when the limit is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from uuid import UUID

import psycopg
from rich.console import Console

from benchmarks.processes import describe_machine, load
from benchmarks.report import Figure, print_figures
from morningai.db.migrate import SERVICES, migrate
from morningai.db.queries import Queries
from morningai.db.session import OPEN_SESSION, opening
from morningai.embedded.postgres import EmbeddedPostgres

LARGEST_OVERHEAD_PERCENT = 10.0
PASSWORD = "benchmark"
PASSWORDS = {f"{service}_{kind}": PASSWORD for service in SERVICES for kind in ("app", "relay")}
DATABASE = "benchmark"
PAGE = {"before_time": "9999-01-01T00:00:00+00:00", "before_id": str(UUID(int=2**128 - 1)), "limit": 20}
LIST_TASKS = Queries(Path(__file__).parents[1] / "services" / "gateway" / "repository" / "tasks.sql")["list_tasks"]
# The same statement on a table without policies; the tenant is one more condition.
PLAIN_LIST_TASKS = LIST_TASKS.replace("FROM tasks\nWHERE ", "FROM plain.tasks\nWHERE tenant_id = %(tenant_id)s AND ")
FILL = """
INSERT INTO gateway.tasks
  (tenant_id, task_id, request_id, principal, instruction, source, kinds, state, trace_id, created_at)
SELECT tenant.id, gen_random_uuid(), gen_random_uuid(), 'key:mk_0', 'Which question is number ' || number || '?',
       'sources/shop', ARRAY['answer'], 'succeeded', md5(number::text), now() - make_interval(secs => number)
FROM unnest(%s::uuid[]) AS tenant (id), generate_series(1, %s) AS number
"""
PLAIN_TABLE = """
CREATE SCHEMA plain;
CREATE TABLE plain.tasks (LIKE gateway.tasks INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
INSERT INTO plain.tasks SELECT * FROM gateway.tasks;
GRANT USAGE ON SCHEMA plain TO gateway_app;
GRANT SELECT ON plain.tasks TO gateway_app
"""
# What the product sets for each transaction, without the verification: the plain one is traced and timed out as well.
OPEN_PLAIN = OPEN_SESSION.replace(
    "kernel.open_session(%(proof)s)", "set_config('benchmark.tenant_id', %(proof)s, true)"
)
Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Options:
    tenants: int
    rows_per_tenant: int
    pages: int
    rounds: int
    say: Callable[[str], None]


@dataclass(frozen=True)
class Tenant:
    tenant_id: UUID
    grant: str


async def measure(options: Options) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="mai-") as folder:
        server = EmbeddedPostgres(Path(folder))
        await server.start()
        try:
            while not await server.healthy():  # noqa: ASYNC110  a server has no event to wait for
                await asyncio.sleep(0.05)
            return await asyncio.to_thread(_measure, server, options)
        finally:
            await server.stop()


def _measure(server: EmbeddedPostgres, options: Options) -> list[Figure]:
    options.say(f"{options.tenants * options.rows_per_tenant:,} rows of {options.tenants:,} tenants")
    tenants = _fill(server, options)
    with psycopg.connect(server.dsn("gateway_app", PASSWORD, DATABASE), prepare_threshold=1) as connection:
        _check_same_rows(connection, tenants[0])
        rounds = []
        for number in range(options.rounds):
            options.say(f"round {number + 1} of {options.rounds}")
            rounds.append(_round(connection, tenants, options.pages))
    proven, plain = zip(*rounds, strict=True)
    overhead = [(ours / theirs - 1) * 100 for ours, theirs in rounds]
    return [
        Figure(
            "page of 20 tasks with RLS and proof, over a plain WHERE", "%", tuple(overhead), LARGEST_OVERHEAD_PERCENT
        ),
        Figure("the page with RLS and proof", "ms", tuple(proven)),
        Figure("the page with a plain WHERE", "ms", tuple(plain)),
    ]


def _fill(server: EmbeddedPostgres, options: Options) -> list[Tenant]:
    with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    admin_dsn = server.admin_dsn(DATABASE)
    migrate(admin_dsn, PASSWORDS)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute("SELECT uuidv7() FROM generate_series(1, %s)", (options.tenants,))]
        connection.execute(FILL, (ids, options.rows_per_tenant))
        connection.execute(PLAIN_TABLE)
        connection.execute("VACUUM ANALYZE gateway.tasks")
        connection.execute("VACUUM ANALYZE plain.tasks")
        mint = (
            "SELECT id, kernel.mint_grant(id, 'key:mk_0', ARRAY['tasks.read'], '1 day') FROM unnest(%s::uuid[]) AS id"
        )
        return [Tenant(*row) for row in connection.execute(mint, (ids,)).fetchall()]


def _check_same_rows(connection: Connection, tenant: Tenant) -> None:
    assert _proven(connection, tenant) == _plain(connection, tenant) != []


def _round(connection: Connection, tenants: list[Tenant], pages: int) -> tuple[float, float]:
    """The medians of both ways in milliseconds; the two take turns at who is first, each with its own tenants."""
    chosen = random.Random(pages).choices(tenants, k=pages)
    for tenant in chosen[:50]:
        _proven(connection, tenant)
        _plain(connection, tenant)
    proven, plain = [], []
    for number, tenant in enumerate(chosen):
        first, second = ((_proven, proven), (_plain, plain))[:: 1 if number % 2 else -1]
        for page, times in (first, second):
            began = time.perf_counter()
            page(connection, tenant)
            times.append((time.perf_counter() - began) * 1000)
    return median(proven), median(plain)


def _proven(connection: Connection, tenant: Tenant) -> list[tuple[object, ...]]:
    with connection.transaction():
        connection.execute(OPEN_SESSION, opening(tenant.grant)).fetchone()
        return connection.execute(LIST_TASKS, PAGE).fetchall()


def _plain(connection: Connection, tenant: Tenant) -> list[tuple[object, ...]]:
    with connection.transaction():
        connection.execute(OPEN_PLAIN, opening(str(tenant.tenant_id))).fetchone()
        return connection.execute(PLAIN_LIST_TASKS, PAGE | {"tenant_id": tenant.tenant_id}).fetchall()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--rows-per-tenant", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=2000, help="of each kind and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    console = Console(stderr=True)
    options = Options(given.tenants, given.rows_per_tenant, given.pages, given.rounds, lambda text: console.print(text))
    machine, before = describe_machine(), load()
    figures = asyncio.run(measure(options))
    if given.as_json:
        print(
            json.dumps(
                {"machine": asdict(machine), "load": before, "figures": [figure.to_json() for figure in figures]}
            )
        )
    else:
        print_figures(Console(width=120), figures)
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
