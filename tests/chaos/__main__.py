"""`python -m tests.chaos`: kills and hinders a whole MorningAI under load, and says what became of every task."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg

from tests.chaos import rest
from tests.chaos.auditor.audit import audit
from tests.chaos.driver import Run
from tests.chaos.evidence import CALLS, FAULTS
from tests.chaos.faults import read_lines
from tests.chaos.load import SLUGS, Load, customers, slug_in
from tests.chaos.platform import ChaosPlatform
from tests.chaos.points import POINTS
from tests.chaos.proxy import running_loop
from tests.chaos.recorders.forge import serving_forges
from tests.chaos.recorders.model import RecordingModelServer
from tests.chaos.recorders.sinks import webhook_receiver
from tests.chaos.recorders.tap import tapping
from tests.chaos.schedule import KILLS, make_schedule
from tests.chaos.summary import IN_FLIGHT_GOAL, Summary, counted, percentile
from tests.chaos.up import TAP_PASSWORD, TAP_USER
from tests.e2e.model import scripted_model

FIXED_SEED = 20261127
REST_SECONDS = 90.0
FAILURES = "SELECT failure ->> 'reason' FROM gateway.tasks WHERE failure IS NOT NULL"
DELIVERIES = "SELECT state FROM orchestrator.steps WHERE step = 'deliver'"
DECISIONS = "SELECT state FROM orchestrator.approvals"
SETTINGS = {
    "MORNINGAI_SLOTS": "3",
    "MORNINGAI_WEBHOOK_EGRESS_ALLOWED": "127.0.0.1",
    # A delivery whose sender died is tried again when its claim ends, and a run does not wait a minute for it.
    "MORNINGAI_WEBHOOK_TIMEOUT_SECONDS": "3",
    "MORNINGAI_WEBHOOK_LEASE_SECONDS": "8",
    "MORNINGAI_MODEL_NAME": "scripted-model",
}


def run(seed: int, tasks: int, kills: int) -> Summary:
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    with ExitStack() as stack:
        model = stack.enter_context(
            scripted_model(make=partial(RecordingModelServer, folder=folder, tenant_of=slug_in))
        )
        forges = stack.enter_context(serving_forges(folder, SLUGS))
        settings = model.settings | SETTINGS | forges.settings
        platform = ChaosPlatform(folder, stack.enter_context(running_loop()), settings)
        stack.callback(platform.stop)
        platform.start()
        bus = "nats://{}:{}".format(*platform.nats())
        tap = stack.enter_context(tapping(folder, bus, user=TAP_USER, password=TAP_PASSWORD))
        receiver = stack.enter_context(webhook_receiver(folder))
        load = Load(stack.enter_context(customers(platform, model, receiver, forges)))
        one = Run(platform, load, make_schedule(seed, tasks=tasks, kills=kills), seed, tasks)
        one.go()
        left = rest.wait_for_rest(platform, seconds=REST_SECONDS)
        if left:
            platform.write_stacks()
        asyncio.run(tap.rest(seconds=20))
        forges.write_refs()
        findings = [f"{count} {name} at the end" for name, count in left.items()] + load.seen.problems
        findings += audit(folder, platform.dsn)
        return summarize(one, findings, seconds=time.monotonic() - began)


def summarize(one: Run, findings: list[str], *, seconds: float) -> Summary:
    platform, seen = one.platform, one.load.seen
    faults = list(read_lines(platform.folder, FAULTS))
    kills = [fault for fault in faults if fault["kind"] in KILLS]
    in_flight = [fault for fault in kills if fault["in_flight"]]
    watches = [call["request"] for call in read_lines(platform.folder, CALLS) if call["method"] == "WatchTask"]
    resumed = sum("afterSequence" in str(request) for request in watches)
    with psycopg.connect(platform.dsn, autocommit=True) as connection:
        moved = [rest.seconds_until_moved(connection, str(f["task"]), float(str(f["time"]))) for f in in_flight]
    recovery = [value for value in moved if value is not None]
    share = len(in_flight) / len(kills) if kills else 1.0
    if share < IN_FLIGHT_GOAL:
        findings = [*findings, f"only {share:.0%} of the kills hit a task in flight"]
    return Summary(
        seed=one.seed,
        tasks=seen.asked,
        acknowledged=len(seen.acknowledged),
        ends=counted(end.removeprefix("TASK_STATE_").lower() for end in seen.ends.values()),
        failures=counted(str(reason) for (reason,) in platform.rows(FAILURES)),
        faults=counted(str(fault["kind"]) for fault in faults if fault["kind"] not in KILLS),
        kills=counted(f"{fault['kind']} {fault['target']}" for fault in kills),
        points_hit=len({fault["point"] for fault in kills if fault["point"]}),
        points=len(POINTS),
        points_missed=one.missed,
        in_flight=share,
        deliveries=counted(str(state) for (state,) in platform.rows(DELIVERIES)),
        decisions=counted(str(state) for (state,) in platform.rows(DECISIONS)),
        watches=len(watches) - resumed,
        watches_resumed=resumed,
        lost=len(seen.acknowledged - set(seen.ends)),
        duplicated=sum("and then" in problem for problem in seen.problems),
        findings=findings,
        recovery_p50=percentile(recovery, 0.5),
        recovery_p99=percentile(recovery, 0.99),
        seconds=seconds,
        folder=str(platform.folder),
        repeat=repeated(one),
    )


def repeated(one: Run) -> str:
    kills = sum(fault.kind in KILLS for fault in one.schedule)
    return f"again: make chaos SEED={one.seed} TASKS={one.tasks} KILLS={kills}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="default: one fixed and one drawn")
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--json", action="store_true", help="one line of JSON for each seed")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run that passed, too")
    arguments = parser.parse_args()
    passed = True
    for seed in arguments.seed or [FIXED_SEED, random.SystemRandom().randrange(1_000_000)]:
        summary = run(seed, arguments.tasks, arguments.kills)
        passed = passed and summary.passed
        print(json.dumps(summary.document()) if arguments.json else "\n".join([*summary.lines(), ""]), flush=True)
        if summary.passed and not arguments.keep:
            shutil.rmtree(summary.folder, ignore_errors=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
