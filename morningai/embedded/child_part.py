"""A part that is one child process and a question whether it is ready: each service, and the local model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from morningai.embedded.process import ChildProcess

Probe = Callable[[], Awaitable[bool]]


class ChildRunner:
    def __init__(self, child: ChildProcess, probe: Probe, *, socket: Path | None = None) -> None:
        self.child = child
        self._probe = probe
        self._socket = socket

    async def start(self) -> None:
        if self._socket and not self.child.running:
            self._socket.unlink(missing_ok=True)
        await self.child.start()

    async def healthy(self) -> bool:
        return self.child.running and await self._probe()

    async def wait(self) -> str:
        return await self.child.wait()

    async def stop(self) -> None:
        await self.child.stop()
        if self._socket:
            self._socket.unlink(missing_ok=True)
