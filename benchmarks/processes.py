"""What processes cost, from /proc: proportional memory (PSS) and processor seconds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024
_SERVICE = re.compile(r"-m (?:services\.|benchmarks\.generators )(\w+)$")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
# Of /proc/PID/stat behind the command's name, which may hold spaces: utime, stime, cutime, cstime.
_TIMES = slice(11, 15)
_OWN_TIMES = slice(11, 13)


@dataclass(frozen=True)
class Machine:
    cores: int
    processor: str
    memory_mib: int
    kernel: str


def describe_machine() -> Machine:
    found = re.search(r"^model name\s*: (.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=found[1] if found else "unknown",
        memory_mib=psutil.virtual_memory().total // MIB,
        kernel=os.uname().release,
    )


def load() -> tuple[float, float, float]:
    """Of the whole machine, over 1, 5 and 15 minutes: others may be at work on it."""
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def parts_of(supervisor: int) -> dict[str, list[int]]:
    """The process ids of each service, of PostgreSQL, of NATS and of the supervisor itself, with their children."""
    parts = {"up": [supervisor]}
    for child in psutil.Process(supervisor).children():
        family = [child, *child.children(recursive=True)]
        parts[_name(child.cmdline())] = [process.pid for process in family]
    return parts


def _name(arguments: list[str]) -> str:
    service = _SERVICE.search(" ".join(arguments))
    return service[1] if service else Path(arguments[0]).name


def pss_mib(processes: Iterable[int]) -> float:
    """Proportional set size: a page that several processes share counts once, divided among them."""
    kilobytes = (sum(map(int, _PSS.findall(_read(Path(f"/proc/{pid}/smaps_rollup"))))) for pid in processes)
    return sum(kilobytes) / 1024


def cpu_seconds(processes: Iterable[int]) -> float:
    """User and system time spent by the processes themselves."""
    return sum(_seconds(pid, _OWN_TIMES) for pid in processes)


def cpu_seconds_of_family(processes: Iterable[int]) -> float:
    """As `cpu_seconds`, and the time of the children that have ended since."""
    return sum(_seconds(pid, _TIMES) for pid in processes)


def _seconds(pid: int, times: slice) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[times])) / _TICKS_PER_SECOND


def _read(path: Path) -> str:
    """Empty for a process that has ended."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
