"""Runs one command in the sandbox, or refuses to: there is no other way to run generated code, and no fallback."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from services.codegen.processes import Caps, Finished, Stop, run_process
from services.codegen.sandbox.bubblewrap import Features, Layout, inner_command, sandbox_arguments
from services.codegen.sandbox.cgroups import (
    ControlGroups,
    find_control_groups,
    make_groups,
    remove_groups,
    remove_stale_groups,
)
from services.codegen.sandbox.host import Host, find_host, install_packages, sandbox_unavailable, write_system_files
from services.codegen.sandbox.limits import Limits
from services.codegen.sandbox.seccomp import filter_program

log = structlog.get_logger()

_FIRST_USER = 64_000
_USERS = 1_000
_ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'
_TRIAL_LIMITS = Limits(wall_seconds=10)


@dataclass(frozen=True)
class SandboxedRun:
    exit_code: int
    stopped: Stop | None
    """Which limit ended the run from outside; None when it ended by itself."""
    output: bytes
    report: bytes
    """What the run wrote to the descriptor named `{report}` in its command."""
    seconds: float


@dataclass(frozen=True)
class Sandbox:
    host: Host
    features: Features
    groups: ControlGroups
    packages: Path
    folder: Path
    """Holds the sandbox's /etc; not visible to runs by another name."""
    _users: Iterator[int] = field(default_factory=lambda: itertools.cycle(range(_USERS)), repr=False, compare=False)

    @classmethod
    async def probe(cls, folder: Path, *, distributions: tuple[str, ...] = ("pytest",)) -> Sandbox:
        """The strongest sandbox that works here, tried by running it; raises StepFailure("sandbox_unavailable")."""
        host = find_host(distributions)
        root = os.geteuid() == 0
        if root and host.setpriv is None:
            raise sandbox_unavailable("the program setpriv is not installed")
        tree = folder / "empty"
        tree.mkdir(parents=True, exist_ok=True)
        packages = await asyncio.to_thread(install_packages, host, folder)
        groups = find_control_groups()
        remove_stale_groups(groups)
        problem = ""
        for features in _candidates(root=root):
            sandbox = cls(host, features, groups, packages, folder)
            trial = await sandbox.run([str(host.python), "-c", "import pytest"], tree=tree, limits=_TRIAL_LIMITS)
            if trial.exit_code == 0:
                log.info("codegen.sandbox.ready", **asdict(features), control_groups=sandbox.groups.available)
                return sandbox
            problem = problem or trial.output.decode(errors="replace").strip()
        raise sandbox_unavailable(problem or "bubblewrap did not start")

    async def run(
        self,
        command: Sequence[str],
        *,
        tree: Path,
        limits: Limits,
        mounts: Mapping[str, Path] | None = None,
        secret: bytes = b"",
    ) -> SandboxedRun:
        """Runs in a copy of `tree`, which stays untouched; `{report}` in an argument becomes a descriptor to write to.

        `mounts` are further folders of this host, read-only; `secret` is the run's standard input.
        """
        user = self._next_user()
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as scratch:
            system_files = Path(scratch, "etc")
            write_system_files(system_files, user)
            layout = Layout(tree, self.packages, system_files, mounts or {}, user)
            finished = await self._run(layout, command, limits=limits, secret=secret)
        return SandboxedRun(
            exit_code=finished.exit_code,
            stopped=finished.stopped,
            output=finished.output + finished.errors,
            report=finished.report,
            seconds=finished.seconds,
        )

    async def _run(self, layout: Layout, command: Sequence[str], *, limits: Limits, secret: bytes) -> Finished:
        groups = make_groups(self.groups, f"morningai-{os.getpid()}-{layout.system_files.parent.name}", limits)
        report, report_writer = os.pipe()
        options = _memory_file(_joined(sandbox_arguments(self.host, self.features, layout, limits)))
        inherited = [report_writer, options]
        arguments = ["/bin/sh", "-c", _ENTER_GROUPS, "sh", *(f"{group}/cgroup.procs" for group in groups), "--"]
        arguments += [str(self.host.bwrap), "--args", str(options)]
        if self.features.seccomp and (program := filter_program()) is not None:
            inherited.append(_memory_file(program))
            arguments += ["--seccomp", str(inherited[-1])]
        arguments += ["--", *inner_command(self.host, self.features, layout, limits)]
        arguments += [part.replace("{report}", str(report_writer)) for part in command]
        try:
            return await run_process(
                arguments,
                caps=Caps(seconds=limits.wall_seconds, output_bytes=limits.output_bytes),
                environment={},
                stdin=secret,
                inherited=inherited,
                report=report,
            )
        finally:
            await remove_groups(groups)

    def describe(self) -> str:
        groups = "control groups" if self.groups.available else "no control groups"
        return f"bubblewrap, {self.features}, {groups}"

    def _next_user(self) -> int:
        # RLIMIT_NPROC counts per user: runs at the same time must not share one.
        return _FIRST_USER + (os.getpid() + next(self._users)) % _USERS


def _candidates(*, root: bool) -> Iterator[Features]:
    filtered = filter_program() is not None
    for proc, disabled in itertools.product((True, False), (not root, False)):
        yield Features(root=root, proc=proc, user_namespaces_disabled=disabled, seccomp=filtered)


def _joined(arguments: Sequence[str]) -> bytes:
    return b"".join(argument.encode() + b"\0" for argument in arguments)


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("sandbox")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
