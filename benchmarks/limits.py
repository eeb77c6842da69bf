"""What a rate limit costs the calls it admits, and what a tenant that floods costs another one.

`python -m benchmarks.limits` prints a table and exits with 1 when a limit is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from psycopg.conninfo import make_conninfo
from rich.console import Console

from benchmarks.callers import Called, Caller, start_callers, submit
from benchmarks.processes import cpu_seconds, describe_machine, load, parts_of
from benchmarks.report import Figure, print_figures
from benchmarks.stack import Stack, running_stack
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port
from morningai.cli.gateway import Gateway
from morningai.db.session import Database
from morningai.embedded.data_dir import DataDir
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.rpc.call import CallClass, MethodRule
from services.gateway.limiter import Limiter

READING = MethodRule("/benchmark", tasks.ListTasksRequest, "tasks.read", internal=False, call_class=CallClass.READ)
LIMITER_MILLISECONDS = 1.0
NEIGHBOUR_FACTOR = 1.1
DECISIONS = 3_000
WARM_UP = 200
LIMIT_PER_MINUTE = 60
FLOOD_FACTOR = 100
NEIGHBOUR_CALLS_PER_SECOND = 40.0
NO_LIMIT = 1_000_000_000
# The burst that a flood begins with is admitted; what it costs is not measured.
FLOOD_LEAD_SECONDS = 3.0
REFUSED = "RESOURCE_EXHAUSTED"
PAGE_WIDTH = 120


@dataclass(frozen=True)
class Tenant:
    name: str
    key: str


def measure(*, pairs: int, seconds: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="mb-") as scratch, running_stack(Path(scratch), free_port()) as stack:
        noisy, quiet = _tenant(stack, "noisy"), _tenant(stack, "quiet")
        _limit(stack, quiet, read_calls_per_minute=NO_LIMIT)
        figures = asyncio.run(_cost(Path(scratch), quiet))
        _limit(stack, noisy, read_calls_per_minute=LIMIT_PER_MINUTE, read_calls_burst=10)
        with start_callers() as pool:
            return figures + _neighbour(pool, stack, noisy, quiet, pairs=pairs, seconds=seconds)


def _tenant(stack: Stack, slug: str) -> Tenant:
    with Gateway(Target(stack.gateway), stack.operator_key) as operator:
        request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug))
        created = operator.call(operator.tenants.CreateTenant, request, repeatable=False)
    return Tenant(created.tenant.name, created.api_key)


def _limit(stack: Stack, tenant: Tenant, **values: int) -> None:
    changes = [usage.LimitChange(name=name, value=value) for name, value in values.items()]
    with Gateway(Target(stack.gateway), stack.operator_key) as operator:
        request = usage.UpdateTenantLimitsRequest(tenant=tenant.name, changes=changes)
        operator.call(operator.usage.UpdateTenantLimits, request)


async def _cost(data_dir: Path, tenant: Tenant) -> list[Figure]:
    """The gateway's own limiter on its own login's rights, one decision after the other."""
    admin = EmbeddedPostgres(DataDir(data_dir).postgres).admin_dsn("morningai")
    database = Database(make_conninfo(admin, options="-c role=gateway_app -c search_path=gateway"))
    await database.open()
    limiter = Limiter(database)
    row = await database.decide("SELECT tenancy.authenticate(%(key)s) AS grant", {"key": tenant.key})
    assert row is not None
    took = []
    for _ in range(WARM_UP + DECISIONS):
        began = time.perf_counter()
        await limiter.admit(row["grant"], READING)
        took.append((time.perf_counter() - began) * 1000)
    await database.close()
    spent = took[WARM_UP:]
    return [
        Figure("limiter, an admitted call, median", "ms", (median(spent),), LIMITER_MILLISECONDS, strict=True),
        Figure("limiter, an admitted call, p99", "ms", (_p99(spent),)),
    ]


def _neighbour(
    pool: ProcessPoolExecutor, stack: Stack, noisy: Tenant, quiet: Tenant, *, pairs: int, seconds: float
) -> list[Figure]:
    """Alone and beside the flood by turns, so that what else the machine does meets both alike."""
    gateway = parts_of(stack.pid)["gateway"]
    flood_rate = LIMIT_PER_MINUTE / 60 * FLOOD_FACTOR
    neighbour = Caller(stack.gateway, quiet.key, NEIGHBOUR_CALLS_PER_SECOND, seconds)
    flood = Caller(stack.gateway, noisy.key, flood_rate, FLOOD_LEAD_SECONDS + seconds, niceness=10)
    submit(pool, neighbour).result()
    alone, beside, floods = [], [], []
    for _ in range(pairs):
        alone.append(_measured(gateway, lambda: submit(pool, neighbour).result()))
        flooding = submit(pool, flood)
        time.sleep(FLOOD_LEAD_SECONDS)
        beside.append(_measured(gateway, lambda: submit(pool, neighbour).result()))
        floods.append(flooding.result())
    # Of all calls of either kind: a turn has six slowest ones of hundred, and its own p99 varies twofold.
    factor = _p99([each for turn in beside for each in turn.took]) / _p99(
        [each for turn in alone for each in turn.took]
    )
    factors = tuple(b.p99 / a.p99 for a, b in zip(alone, beside, strict=True))
    refused = tuple(100 * flood.codes.get(REFUSED, 0) / sum(flood.codes.values()) for flood in floods)
    more = [b.cpu_seconds - a.cpu_seconds for a, b in zip(alone, beside, strict=True)]
    each = tuple(1000 * spent / (flood_rate * seconds) for spent in more)
    return [
        Figure(f"p99 beside a tenant at {FLOOD_FACTOR} times its limit", "times", (factor,), NEIGHBOUR_FACTOR),
        Figure("the same, turn by turn", "times", factors),
        Figure("p99 alone", "ms", tuple(one.p99 for one in alone)),
        Figure("p99 beside the flood", "ms", tuple(one.p99 for one in beside)),
        Figure("median alone", "ms", tuple(one.median for one in alone)),
        Figure("median beside the flood", "ms", tuple(one.median for one in beside)),
        Figure("calls of the flood that were refused", "%", refused, note=f"{flood_rate:g} calls a second"),
        Figure("gateway's processor time for a call of the flood", "ms", each),
    ]


@dataclass(frozen=True)
class Measured:
    """A neighbour's calls (milliseconds), and the processor time of the gateway meanwhile."""

    took: list[float]
    cpu_seconds: float

    @property
    def p99(self) -> float:
        return _p99(self.took)

    @property
    def median(self) -> float:
        return median(self.took)


def _measured(gateway: list[int], call: Callable[[], Called]) -> Measured:
    before = cpu_seconds(gateway)
    took = [seconds * 1000 for seconds in call().seconds]
    return Measured(took, cpu_seconds(gateway) - before)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--pairs", type=int, default=9, help="turns of alone and beside")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each half of a turn")
    options = parser.parse_args()
    before = load()
    figures = measure(pairs=options.pairs, seconds=options.seconds)
    if options.json:
        print(json.dumps({"figures": [figure.to_json() for figure in figures]}, indent=2))
    else:
        console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
        print_figures(console, figures)
        console.print(f"{describe_machine()}")
        console.print(f"Load of the machine before: {before}, after: {load()}.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
