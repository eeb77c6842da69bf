"""Control groups, version 1 and 2: one per run for its memory and processes, where this user may make one."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from services.codegen.sandbox.limits import Limits

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
_DELEGATED = "morningai-codegen"
_REMOVAL_TRIES = 100
_REMOVAL_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class ControlGroups:
    """The folders below which a run's groups are made; empty where none may be made."""

    memory: Path | None = None
    processes: Path | None = None
    unified: bool = False

    @property
    def available(self) -> bool:
        return self.memory is not None or self.processes is not None


def find_control_groups(root: Path = ROOT, own: Path = OWN) -> ControlGroups:
    if (root / "cgroup.controllers").is_file():
        parent = _delegated(root)
        return ControlGroups(memory=parent, processes=parent, unified=True)
    paths = _own_paths(own)
    return ControlGroups(
        memory=_writable(root / "memory", paths.get("memory", "/")),
        processes=_writable(root / "pids", paths.get("pids", "/")),
    )


def make_groups(groups: ControlGroups, name: str, limits: Limits) -> tuple[Path, ...]:
    """Makes the groups of one run and sets their limits; a process enters by writing its id to their `cgroup.procs`."""
    made: list[Path] = []
    for parent in dict.fromkeys(path for path in (groups.memory, groups.processes) if path is not None):
        group = parent / name
        group.mkdir()
        made.append(group)
    for group in made:
        for file, value in _settings(limits, unified=groups.unified).items():
            # Swap accounting, for one, is not in every kernel.
            with contextlib.suppress(OSError):
                (group / file).write_text(str(value))
    return tuple(made)


async def remove_groups(made: tuple[Path, ...]) -> None:
    """Waits until the last process is gone; a group that stays is empty of everything but its name."""
    for group in made:
        for _ in range(_REMOVAL_TRIES):
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")
            try:
                group.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                await asyncio.sleep(_REMOVAL_PAUSE_SECONDS)


def remove_stale_groups(groups: ControlGroups) -> None:
    """Removes empty groups whose service was killed before it could."""
    for parent in {path for path in (groups.memory, groups.processes) if path is not None}:
        for group in parent.glob("morningai-*-run-*"):
            owner = group.name.split("-")[1]
            if owner.isdigit() and not Path("/proc", owner).exists():
                with contextlib.suppress(OSError):
                    group.rmdir()


def _settings(limits: Limits, *, unified: bool) -> dict[str, int]:
    if unified:
        return {"memory.max": limits.memory_bytes, "memory.swap.max": 0, "pids.max": limits.processes}
    return {
        "memory.limit_in_bytes": limits.memory_bytes,
        "memory.memsw.limit_in_bytes": limits.memory_bytes,
        "pids.max": limits.processes,
    }


def _own_paths(own: Path) -> dict[str, str]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split(":", 2) for line in lines]
    return {controller: path for _, controllers, path in fields for controller in controllers.split(",")}


def _writable(hierarchy: Path, own: str) -> Path | None:
    # Below our own group, so that a run counts towards what this service may use.
    for parent in (hierarchy / own.lstrip("/"), hierarchy):
        if _can_make_groups(parent):
            return parent
    return None


def _delegated(root: Path) -> Path | None:
    parent = root / _DELEGATED
    try:
        parent.mkdir(exist_ok=True)
        for folder in (root, parent):
            if not {"memory", "pids"} <= set((folder / "cgroup.subtree_control").read_text().split()):
                (folder / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError:
        return None
    return parent if _can_make_groups(parent) else None


def _can_make_groups(parent: Path) -> bool:
    trial = parent / "morningai-trial"
    try:
        trial.mkdir(exist_ok=True)
        trial.rmdir()
    except OSError:
        return False
    return True
