"""What is measured of a peer: the same two loops as MorningAI, and the processor time of all its processes."""

from __future__ import annotations

import argparse
import json
import os
import sys

import psutil

from benchmarks.loop import Run, in_flight
from benchmarks.processes import cpu_seconds_of_family

WARM_UP_SECONDS = 4.0


async def measure_peer(run: Run) -> None:
    """Print the idle latencies, the saturated throughput, and the processor milliseconds of a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-a-time", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    idle = await in_flight([run], at_a_time=1, seconds=given.seconds / 2)
    await in_flight([run], at_a_time=given.at_a_time, seconds=WARM_UP_SECONDS)
    before = _cpu_seconds()
    full = await in_flight([run], at_a_time=given.at_a_time, seconds=given.seconds)
    milliseconds = 1000 * (_cpu_seconds() - before) / len(full.latencies)
    json.dump({"idle": idle.to_json(), "full": full.to_json(), "cpu_milliseconds": milliseconds}, sys.stdout)


def _cpu_seconds() -> float:
    own = psutil.Process()
    return cpu_seconds_of_family([os.getpid(), *(child.pid for child in own.children(recursive=True))])
