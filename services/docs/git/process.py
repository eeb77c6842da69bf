"""Runs git with a fixed environment and configuration, within limits on time, memory, processor and file size.

Invariant: nothing but this module's list and the command decides how git behaves: no system or user configuration, no
hooks, no credential helpers, no prompts, no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO

from morningai.errors import Permanent, Retryable

_CONFIGURATION = {
    "core.askPass": "/bin/false",
    "core.bigFileThreshold": "8m",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.packedGitLimit": "256m",
    "core.packedGitWindowSize": "32m",
    "core.symlinks": "false",
    "credential.helper": "",
    "fetch.bundleURI": "",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "fetch.uriProtocols": "",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "http.proxy": "",
    "http.sslVerify": "true",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.allow": "never",
    "protocol.version": "2",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "transfer.fsckObjects": "true",
}
# Harmless slips in the history of many real projects; everything else that fsck knows refuses the repository.
TOLERATED_SLIPS = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedDate", "zeroPaddedFilemode")
_LIMITED = 'ulimit -t "$1"; ulimit -f "$2"; ulimit -v "$3" 2>/dev/null; shift 3; exec "$@"'


@dataclass(frozen=True, slots=True)
class GitLimits:
    """Bounds of one git command."""

    timeout_seconds: float = 300.0
    processor_seconds: int = 300
    memory_bytes: int = 2 * 1024**3
    repository_bytes: int = 1024**3
    output_bytes: int = 64 * 1024**2


class GitFailed(Permanent):
    """Git ended with an error; `fatal` is its first error line, shortened and printable."""

    reason = "GIT_FAILED"

    def __init__(self, return_code: int, error_output: str) -> None:
        super().__init__(f"git ended with {return_code}.")
        self.return_code = return_code
        self.error_output = error_output

    @property
    def fatal(self) -> str:
        reasons = (line for line in self.error_output.splitlines() if line.startswith(("fatal:", "error")))
        first = next(reasons, "no reason given").removeprefix("fatal: ").removeprefix("error: ")
        return "".join(character if character.isprintable() else "?" for character in first)[:200]


class GitTimedOut(Retryable):
    """The time limit passed; git and its children are gone."""


class GitOutputTooLarge(Permanent):
    """Git wrote more than the limit."""


@dataclass(frozen=True, slots=True)
class Command:
    """One git command and what it may use besides the fixed environment: `descriptors` are open files that it inherits,
    `hidden` is taken out of what it writes to standard error."""

    arguments: tuple[str, ...]
    configuration: Mapping[str, str]
    environment: Mapping[str, str]
    protocols: str = ""
    descriptors: tuple[int, ...] = ()
    hidden: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def make(
        cls,
        *arguments: str,
        configuration: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        protocols: str = "",
        descriptors: tuple[int, ...] = (),
        hidden: tuple[str, ...] = (),
    ) -> Command:
        return cls(arguments, configuration or {}, environment or {}, protocols, descriptors, hidden)


async def run_git(command: Command, limits: GitLimits, *, stdin: int | bytes | None = None) -> bytes:
    """The command's output; `stdin` is a file descriptor or bytes.

    Raises GitFailed, GitTimedOut, GitOutputTooLarge.
    """
    with tempfile.TemporaryFile() as errors:
        async with start_git(command, limits, stdin=stdin, errors=errors) as process:
            try:
                async with asyncio.timeout(limits.timeout_seconds):
                    output = await _converse(process, stdin if isinstance(stdin, bytes) else None, limits.output_bytes)
                    return_code = await process.wait()
            except TimeoutError as error:
                raise GitTimedOut(f"git {command.arguments[0]} took more than {limits.timeout_seconds} s") from error
        if return_code != 0:
            raise GitFailed(return_code, _without(command.hidden, read_errors(errors)))
    return output


@asynccontextmanager
async def start_git(
    command: Command, limits: GitLimits, *, stdin: int | bytes | None, errors: IO[bytes]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running git whose whole process group ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *_command_line(command, limits),
        stdin=stdin if isinstance(stdin, int) else _pipe_or_null(stdin),
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        env=_environment(command),
        cwd="/",
        pass_fds=command.descriptors,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
        await process.wait()


def read_errors(errors: IO[bytes]) -> str:
    """What git wrote to standard error: its end, as text."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 8192))
    return errors.read().decode("utf-8", "replace")


def _without(hidden: tuple[str, ...], text: str) -> str:
    for secret in hidden:
        text = text.replace(secret, "[hidden]")
    return text


def _command_line(command: Command, limits: GitLimits) -> list[str]:
    settings = {**_CONFIGURATION, **command.configuration}
    options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
    options += [argument for slip in TOLERATED_SLIPS for argument in ("-c", f"fetch.fsck.{slip}=ignore")]
    caps = (str(limits.processor_seconds), str(limits.repository_bytes // 512), str(limits.memory_bytes // 1024))
    # A shell sets the limits: a preexec_fn would fork a process full of gRPC threads.
    return ["/bin/sh", "-c", _LIMITED, "git", *caps, "git", "--no-replace-objects", *options, *command.arguments]


def _environment(command: Command) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "GIT_ALLOW_PROTOCOL": command.protocols or "none",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_SSH_COMMAND": "/bin/false",
        "GIT_TERMINAL_PROMPT": "0",
        **command.environment,
    }


def _pipe_or_null(stdin: bytes | None) -> int:
    return asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE


async def _converse(process: asyncio.subprocess.Process, stdin: bytes | None, limit_bytes: int) -> bytes:
    feeding = asyncio.ensure_future(_feed(process, stdin or b""))
    try:
        return await _read_up_to(process, limit_bytes)
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(process: asyncio.subprocess.Process, stdin: bytes) -> None:
    if process.stdin is None:
        return
    process.stdin.write(stdin)
    await process.stdin.drain()
    process.stdin.close()


async def _read_up_to(process: asyncio.subprocess.Process, limit_bytes: int) -> bytes:
    assert process.stdout is not None
    pieces: list[bytes] = []
    size = 0
    while piece := await process.stdout.read(65536):
        size += len(piece)
        if size > limit_bytes:
            raise GitOutputTooLarge(f"more than {limit_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
