"""Child processes with caps: whatever a child does, it ends by its deadline, and its output stays within its limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Stop = Literal["time", "output"]

_CHUNK_BYTES = 65_536
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Caps:
    seconds: float
    output_bytes: int
    """Of each stream."""


@dataclass(frozen=True)
class Finished:
    exit_code: int
    stopped: Stop | None
    """Which cap ended the process; None when it ended by itself."""
    output: bytes
    errors: bytes
    report: bytes
    seconds: float


@dataclass
class _Capture:
    limit_bytes: int
    flood: asyncio.Event
    kept: bytearray = field(default_factory=bytearray)

    async def drain(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        while chunk := await stream.read(_CHUNK_BYTES):
            self.kept += chunk[: self.limit_bytes - len(self.kept)]
            if len(self.kept) >= self.limit_bytes:
                self.flood.set()


async def run_process(
    arguments: Sequence[str],
    *,
    caps: Caps,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    inherited: Sequence[int] = (),
    report: int | None = None,
) -> Finished:
    """Runs a child to its end. `inherited` descriptors are passed on and closed here; `report` is read to its end.

    Must be awaited on the main thread's loop: bubblewrap's --die-with-parent is tied to the thread that starts it.
    """
    started = time.monotonic()
    flood = asyncio.Event()
    output, errors, reported = (_Capture(caps.output_bytes, flood) for _ in range(3))
    async with _pipe(report) as report_stream:
        with _closed_here(inherited):
            child = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(environment),
                pass_fds=tuple(inherited),
                start_new_session=True,
                umask=0o022,
            )
        work = asyncio.gather(
            child.wait(),
            _feed(child.stdin, stdin),
            output.drain(child.stdout),
            errors.drain(child.stderr),
            reported.drain(report_stream),
        )
        stopped = await _finish(child, work, flood=flood, seconds=caps.seconds)
    return Finished(
        exit_code=-int(signal.SIGKILL) if child.returncode is None else child.returncode,
        stopped=stopped,
        output=bytes(output.kept),
        errors=bytes(errors.kept),
        report=bytes(reported.kept),
        seconds=time.monotonic() - started,
    )


async def _finish(
    child: asyncio.subprocess.Process,
    work: asyncio.Future[tuple[int, None, None, None, None]],
    *,
    flood: asyncio.Event,
    seconds: float,
) -> Stop | None:
    flooded = asyncio.ensure_future(flood.wait())
    try:
        await asyncio.wait((work, flooded), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work.done() and not flood.is_set():
            work.result()
            return None
        return "output" if flood.is_set() else "time"
    finally:
        flooded.cancel()
        _kill_group(child.pid)
        # The pipes end when the last process of the tree is gone.
        await asyncio.wait((work,), timeout=_GRACE_SECONDS)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def _feed(pipe: asyncio.StreamWriter | None, data: bytes) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(data)
        await pipe.drain()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.close()
        await pipe.wait_closed()


@contextlib.asynccontextmanager
async def _pipe(descriptor: int | None) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    if descriptor is None:
        reader.feed_eof()
        yield reader
        return
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        yield reader
    finally:
        transport.close()


@contextlib.contextmanager
def _closed_here(descriptors: Sequence[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
