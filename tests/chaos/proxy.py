"""A proxy between the services and NATS or PostgreSQL: it passes bytes on, until it drops a connection or is slow."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
# host and port, or the path of a socket
Address = tuple[str, int] | Path
PIECE_BYTES = 65_536


class Proxy:
    """`target` is asked for each connection: who restarts may have moved. Every method is for the proxy's own loop."""

    def __init__(self, target: Callable[[], Address]) -> None:
        self._target = target
        self._writers: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._number = 0
        self.delay_seconds = 0.0
        self.server: asyncio.Server | None = None

    async def listen(self, address: Address) -> int:
        """The port; 0 for a socket."""
        if isinstance(address, Path):
            self.server = await asyncio.start_unix_server(self._connected, address)
            return 0
        self.server = await asyncio.start_server(self._connected, *address)
        return int(self.server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self.server:
            self.server.close()
        await self.drop(1.0, random.Random(0))
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def drop(self, share: float, chance: random.Random) -> int:
        """Cut this share of the connections as a broken line does; returns how many."""
        numbers = sorted(self._writers)
        chosen = chance.sample(numbers, k=round(share * len(numbers)))
        for number in chosen:
            for writer in self._writers[number]:
                writer.transport.abort()
        return len(chosen)

    async def delay(self, seconds: float) -> None:
        """Before each piece, both ways; 0 for none."""
        self.delay_seconds = seconds

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            there_reader, there_writer = await _open(self._target())
        except OSError:
            await _close(writer)
            return
        self._number += 1
        number = self._number
        self._writers[number] = (writer, there_writer)
        try:
            await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))
        finally:
            del self._writers[number]
            await _close(writer)
            await _close(there_writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(piece)
                await writer.drain()
        writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, Path):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@contextmanager
def running_loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.stop()
