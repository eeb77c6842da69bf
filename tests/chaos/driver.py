"""One chaos run: load and faults side by side, then everything is healed, comes to rest, and is looked at."""

from __future__ import annotations

import random
import signal
import threading
import time
from dataclasses import dataclass, field, replace

import psycopg

from tests.chaos.evidence import FAULTS, PATCHES, Journal
from tests.chaos.fail_points import LOST_ACK
from tests.chaos.faults import read_lines
from tests.chaos.load import Load, delivering, make_orders
from tests.chaos.platform import PARTS, ChaosPlatform
from tests.chaos.points import OF_DELIVERIES, WORKERS
from tests.chaos.schedule import Fault, Kind

TICK_SECONDS = 0.1
# Between two faults, so that a run is no single outage.
SPACE_SECONDS = 1.5
DELAYED_SECONDS = 4.0
LATE_SECONDS = 120.0
MORE_ORDERS = 12
HELD_BY_WORKER = """
SELECT worker, task_id::text FROM {0}.leases WHERE state = 'running' AND expires_at > now()
"""
OPEN_TASK = "SELECT task_id::text FROM orchestrator.tasks WHERE state = 'running' ORDER BY random() LIMIT 1"


@dataclass
class Run:
    platform: ChaosPlatform
    load: Load
    schedule: list[Fault]
    seed: int
    tasks: int
    missed: list[str] = field(default_factory=list)
    _chance: random.Random = field(init=False)
    _timers: list[threading.Timer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed + 1)
        self._faults = Journal(self.platform.folder, FAULTS)

    def go(self) -> None:
        self.load.start(make_orders(self.seed, self.tasks))
        for fault in self.schedule:
            self._wait_for(fault)
            self._do(fault)
            time.sleep(SPACE_SECONDS)
        self._await_the_armed()
        self._heal()
        self.load.finish()

    def _wait_for(self, fault: Fault) -> None:
        while self.load.seen.asked < fault.after and self.load.under_way:
            time.sleep(TICK_SECONDS)
        assert self.platform.running, "the platform ended"

    def _do(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.POINT:
                self.platform.arm(fault.point, fault.target)
            case Kind.LOST_ACK:
                self.platform.arm(LOST_ACK, fault.target)
            case Kind.KILL:
                self._kill(fault)
            case Kind.RESTART:
                self._note(fault, self.platform.send(fault.target, signal.SIGTERM), None)
            case Kind.FREEZE:
                self._freeze(fault)
            case Kind.DROP:
                proxy = self.platform.proxies[fault.target]
                self.platform.loop.run(proxy.drop(fault.amount, self._chance))
                self._note(fault, None, None)
            case Kind.DELAY:
                self._delay(fault)
            case Kind.LOSE_BUS:
                task = self._open_task()
                self._note(fault, self.platform.lose_bus(), task)

    def _kill(self, fault: Fault) -> None:
        """Another process of the same service, where the drawn one holds nothing."""
        target, task = self._holder(fault.target)
        began = time.time()
        pid = self.platform.send(target, signal.SIGKILL)
        self._note(replace(fault, target=target), pid, task, began)

    def _holder(self, target: str) -> tuple[str, str | None]:
        """A worker holds what it has a lease on; everything else is in the way of every open task."""
        service = target.removesuffix("-2")
        if service not in WORKERS:
            return target, self._open_task()
        held = {self.platform.part_of(int(worker.rpartition(":")[2])): task for worker, task in self._held(service)}
        for one in (target, service, f"{service}-2"):
            if one in held:
                return one, held[one]
        return target, None

    def _held(self, service: str) -> list[tuple[str, str]]:
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            try:
                rows = self.platform.rows(HELD_BY_WORKER.format(service))
            except psycopg.Error:
                rows = []
            if rows:
                return [(str(worker), str(task)) for worker, task in rows]
            time.sleep(TICK_SECONDS)
        return []

    def _open_task(self) -> str | None:
        try:
            found = self.platform.rows(OPEN_TASK)
        except psycopg.Error:
            return None
        return str(found[0][0]) if found else None

    def _freeze(self, fault: Fault) -> None:
        pid = self.platform.send(fault.target, signal.SIGSTOP)
        self._note(fault, pid, None)
        self._later(fault.amount, lambda: self.platform.send(fault.target, signal.SIGCONT))

    def _delay(self, fault: Fault) -> None:
        proxy = self.platform.proxies[fault.target]
        self.platform.loop.run(proxy.delay(fault.amount))
        self._note(fault, None, None)
        self._later(DELAYED_SECONDS, lambda: self.platform.loop.run(proxy.delay(0.0)))

    def _later(self, seconds: float, do: object) -> None:
        timer = threading.Timer(seconds, do)  # type: ignore[arg-type]
        timer.start()
        self._timers.append(timer)

    def _note(self, fault: Fault, pid: int | None, task: str | None, began: float | None = None) -> None:
        self._faults.append(
            {
                "time": began or time.time(),
                "kind": fault.kind,
                "target": fault.target,
                "pid": pid,
                "point": fault.point or None,
                "task": task,
                "in_flight": task is not None,
                "recovered": None,
            }
        )

    def _await_the_armed(self) -> None:
        """More tasks, while a point that was armed was not passed."""
        give_up, number = time.monotonic() + LATE_SECONDS, self.tasks
        armed = self.platform.folder / "armed"
        while any(armed.iterdir()) and time.monotonic() < give_up:
            if not self.load.under_way:
                names = [path.name for path in armed.iterdir()]
                more = make_orders(self.seed + number, MORE_ORDERS)
                if any(name.startswith(OF_DELIVERIES) for name in names):
                    more = [replace(delivering(order), cancels_after=None) for order in more]
                elif any("codegen" in name for name in names):
                    more = [replace(order, kinds=("change",), cancels_after=None) for order in more]
                self.load.start(more)
                number += MORE_ORDERS
            time.sleep(TICK_SECONDS)
        self.missed = self.platform.disarm()

    def _heal(self) -> None:
        for timer in self._timers:
            timer.join()
        for part in PARTS:
            self.platform.send(part, signal.SIGCONT)
        for proxy in self.platform.proxies.values():
            self.platform.loop.run(proxy.delay(0.0))
        self.platform.wait_until_whole(seconds=60)
        self._note_points()

    def _note_points(self) -> None:
        for line in read_lines(self.platform.folder, PATCHES):
            kind = Kind.POINT if line["killed"] else Kind.LOST_ACK
            self._faults.append(
                {
                    "time": line["time"],
                    "kind": kind,
                    "target": line["service"],
                    "pid": line["pid"],
                    "point": line["point"],
                    "task": str(line["task"]).removeprefix("tasks/") if line["task"] else None,
                    "in_flight": line["task"] is not None,
                    "recovered": None,
                }
            )
