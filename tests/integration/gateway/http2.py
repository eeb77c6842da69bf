"""HTTP/2 by hand: what no gRPC client would do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9


class Connection:
    """Sends frames, and keeps those that come back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = hpack.Encoder()
        self.received: list[Frame] = []
        self.closed = False

    def send(self, frame: Frame) -> None:
        self._writer.write(frame.serialize())

    def call(self, stream: int, path: str, metadata: dict[str, str], message: bytes = b"") -> None:
        """Begins a call and leaves its side open."""
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "door",
            "content-type": "application/grpc",
            "te": "trailers",
            **metadata,
        }
        self.send(HeadersFrame(stream, data=self._encoder.encode(headers), flags=["END_HEADERS"]))
        self.send(DataFrame(stream, data=b"\0" + len(message).to_bytes(4) + message))

    def ping(self) -> None:
        self.send(PingFrame(0, opaque_data=b"are you?"))

    async def read_all(self) -> None:
        with suppress(ConnectionError):
            await self._read_until_the_end()
        self.closed = True

    async def _read_until_the_end(self) -> None:
        while header := await self._reader.read(HEADER_BYTES):
            frame, length = Frame.parse_frame_header(memoryview(header + await self._rest(HEADER_BYTES - len(header))))
            frame.parse_body(memoryview(await self._rest(length)))
            self.received.append(frame)
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                self.send(SettingsFrame(flags=["ACK"]))
            if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))

    async def _rest(self, length: int) -> bytes:
        return await self._reader.readexactly(length)

    @property
    def farewells(self) -> list[GoAwayFrame]:
        return [frame for frame in self.received if isinstance(frame, GoAwayFrame)]

    @property
    def pings(self) -> list[PingFrame]:
        """The other side's own."""
        return [frame for frame in self.received if isinstance(frame, PingFrame) and "ACK" not in frame.flags]

    @property
    def reset_streams(self) -> list[int]:
        return [frame.stream_id for frame in self.received if isinstance(frame, RstStreamFrame)]


@asynccontextmanager
async def raw_connection(address: str) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    connection = Connection(reader, writer)
    writer.write(PREFACE)
    connection.send(SettingsFrame())
    reading = asyncio.create_task(connection.read_all())
    yield connection
    writer.close()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
