"""What the gateway's door adds to an RPC: authentication, and a deadline that reaches SQL.

The same GetTask over gRPC, to servers that differ in their authentication alone, in turn; and the opening of a session
with and without a deadline. `python -m benchmarks.edge` prints a table and exits with 1 when a limit is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

import grpc
import psycopg
from rich.console import Console

from benchmarks.processes import describe_machine, load
from benchmarks.report import Figure, print_figures
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.db.migrate import SERVICES, ensure_operator_key, migrate
from morningai.db.session import OPEN_SESSION, Database, opening
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.logging import start_logging
from morningai.rpc.call import Context
from morningai.rpc.channel import make_channel
from morningai.rpc.server import Prove, RpcServer
from services.gateway.authentication import Authenticator
from services.gateway.feed import Feed
from services.gateway.grpc_api.tasks import TaskServicer
from services.gateway.key_uses import KeyUses

LARGEST_ADDED_MILLISECONDS = 1.0
CACHE_SECONDS = 5.0
PASSWORD = "benchmark"
PASSWORDS = {f"{service}_{kind}": PASSWORD for service in SERVICES for kind in ("app", "relay")}
DATABASE = "benchmark"
OPERATOR_KEY = "op_benchmark.secret"
INSERT_TASK = """
INSERT INTO gateway.tasks (tenant_id, task_id, request_id, principal, instruction, source, kinds, state, trace_id)
VALUES (%s, %s, %s, 'key:mk_1', 'what is it?', 'sources/shop', '{answer}', 'succeeded', '')
"""
WAYS = ("a key, kept", "a key, looked up", "none")
Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Options:
    calls: int
    rounds: int
    say: Callable[[str], None]


@dataclass(frozen=True)
class Tenant:
    key: str
    grant: str
    task: str


async def measure(options: Options) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="mai-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        await server.start()
        try:
            while not await server.healthy():  # noqa: ASYNC110  a server has no event to wait for
                await asyncio.sleep(0.05)
            tenant = await asyncio.to_thread(_make_tenant, server)
            return [
                *await _measure_calls(server, tenant, Path(folder), options),
                *await asyncio.to_thread(_measure_sessions, server, tenant, options),
            ]
        finally:
            await server.stop()


def _make_tenant(server: EmbeddedPostgres) -> Tenant:
    with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    admin_dsn = server.admin_dsn(DATABASE)
    migrate(admin_dsn, PASSWORDS)
    ensure_operator_key(admin_dsn, OPERATOR_KEY)
    with psycopg.connect(server.dsn("tenancy_app", PASSWORD, DATABASE)) as connection:
        connection.execute("SELECT kernel.open_session(tenancy.authenticate(%s))", (OPERATOR_KEY,))
        made = "SELECT tenancy.create_tenant('shop', 'shop', 'mk_1', 'secret', ARRAY['tasks.read'])"
        (tenant_id,) = connection.execute(made).fetchone() or ("",)
    task_id = uuid4()
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(INSERT_TASK, (tenant_id, task_id, uuid4()))
        mint = "SELECT kernel.mint_grant(%s, 'key:mk_1', ARRAY['tasks.read'], '1 day')"
        (grant,) = connection.execute(mint, (tenant_id,)).fetchone() or ("",)
    return Tenant("mk_1.secret", grant, f"tasks/{task_id}")


async def _measure_calls(server: EmbeddedPostgres, tenant: Tenant, folder: Path, options: Options) -> list[Figure]:
    database = Database(server.dsn("gateway_app", PASSWORD, DATABASE))
    await database.open()

    nobody = make_channel("unix:/nowhere")
    key_uses = KeyUses(database, write_seconds=CACHE_SECONDS)

    async def prepared(_: Context) -> str:
        return tenant.grant

    proves: dict[str, Prove] = {
        WAYS[0]: Authenticator(database, key_uses, nobody, cache_seconds=CACHE_SECONDS).prove,
        WAYS[1]: Authenticator(database, key_uses, nobody, cache_seconds=0).prove,
        WAYS[2]: prepared,
    }
    async with AsyncExitStack() as stack:
        calls = {}
        for number, (way, prove) in enumerate(proves.items()):
            address = f"unix:{folder}/{number}.sock"
            calls[way] = await stack.enter_async_context(_serving(address, prove, database, tenant))
        rounds = [await _round(calls, options, number) for number in range(options.rounds)]
    await nobody.close()
    await database.close()
    return _call_figures(rounds)


@asynccontextmanager
async def _serving(address: str, prove: Prove, database: Database, tenant: Tenant) -> AsyncIterator[Call]:
    nobody = make_channel("unix:/nowhere")
    server = RpcServer(address, ["morningai.api.tasks.v1.TaskService"], prove=prove, public=True)
    servicer = TaskServicer(database, Feed(), prove=prove, docs=nobody, orchestrator=nobody)
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(servicer, server.server)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        request = api.GetTaskRequest(name=tenant.task)
        metadata = (("authorization", f"Bearer {tenant.key}"),)

        async def call() -> object:
            return await stub.GetTask(request, metadata=metadata, timeout=10)

        yield call
    await server.stop(0)
    await nobody.close()


async def _round(calls: Mapping[str, Call], options: Options, number: int) -> dict[str, float]:
    """The medians in milliseconds; the ways take turns at who is first."""
    options.say(f"round {number + 1} of {options.rounds}")
    times: dict[str, list[float]] = {way: [] for way in calls}
    for call in calls.values():
        for _ in range(50):
            await call()
    for turn in range(options.calls):
        for place in range(len(WAYS)):
            way = WAYS[(turn + place) % len(WAYS)]
            began = time.perf_counter()
            await calls[way]()
            times[way].append((time.perf_counter() - began) * 1000)
    return {way: median(found) for way, found in times.items()}


def _call_figures(rounds: list[dict[str, float]]) -> list[Figure]:
    def values(way: str) -> tuple[float, ...]:
        return tuple(found[way] for found in rounds)

    def added(way: str) -> tuple[float, ...]:
        return tuple(found[way] - found["none"] for found in rounds)

    def ratio(way: str) -> tuple[float, ...]:
        return tuple(found[way] / found["none"] for found in rounds)

    kept, looked_up, none = WAYS
    return [
        Figure("authentication adds to GetTask, key kept for 5 s", "ms", added(kept), LARGEST_ADDED_MILLISECONDS),
        Figure("authentication adds to GetTask, key looked up", "ms", added(looked_up), LARGEST_ADDED_MILLISECONDS),
        Figure("GetTask with authentication, key kept, over without", "times", ratio(kept)),
        Figure("GetTask with authentication, key looked up, over without", "times", ratio(looked_up)),
        Figure("GetTask without authentication", "ms", values(none)),
    ]


def _measure_sessions(server: EmbeddedPostgres, tenant: Tenant, options: Options) -> list[Figure]:
    rounds = []
    with psycopg.connect(server.dsn("gateway_app", PASSWORD, DATABASE), prepare_threshold=1) as connection:
        for number in range(options.rounds):
            rounds.append(_round_of_sessions(connection, tenant, options.calls, number))
    plain, until, apart = (tuple(found) for found in zip(*rounds, strict=True))
    return [
        Figure("a session opens", "ms", plain),
        Figure("a session opens with a deadline", "ms", until),
        Figure("a session opens, and a deadline in a statement of its own", "ms", apart),
    ]


def _round_of_sessions(
    connection: psycopg.Connection[tuple[object, ...]], tenant: Tenant, count: int, number: int
) -> tuple[float, ...]:
    set_alone = "SELECT set_config('statement_timeout', %s, true)"

    def plain() -> None:
        connection.execute(OPEN_SESSION, opening(tenant.grant))

    def until() -> None:
        connection.execute(OPEN_SESSION, opening(tenant.grant) | {"milliseconds": "60000"})

    def apart() -> None:
        connection.execute(OPEN_SESSION, opening(tenant.grant))
        connection.execute(set_alone, ("60000",))

    ways = (plain, until, apart)
    times: tuple[list[float], ...] = ([], [], [])
    for turn in range(count):
        for place in range(len(ways)):
            way = (turn + place + number) % len(ways)
            with connection.transaction():
                began = time.perf_counter()
                ways[way]()
                times[way].append((time.perf_counter() - began) * 1000)
    return tuple(map(median, times))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="of each kind and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    start_logging("benchmark", "error")
    console = Console(stderr=True)
    options = Options(given.calls, given.rounds, lambda text: console.print(text))
    machine, before = describe_machine(), load()
    figures = asyncio.run(measure(options))
    if given.as_json:
        told = {"machine": asdict(machine), "load": before, "figures": [figure.to_json() for figure in figures]}
        print(json.dumps(told))
    else:
        print_figures(Console(width=120), figures)
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
