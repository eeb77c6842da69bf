"""A scripted OpenAI-compatible server for tests: in the test's event loop, or as a child process that counts calls.

`python -m morningai.testing.model_server --script FILE --port 0` prints {"base_url": …, "calls_url": …} and serves
until it is terminated; `GET /calls` returns {"count": …, "calls": [{"rule", "status", "state", "body"}, …]}.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from morningai.testing.model_script import Script, ScriptedReply, ScriptedRule

_LISTEN_HOST = "127.0.0.1"
_CHUNK_CHARACTERS = 16
_STALL_SECONDS = 3600.0

JsonObject = dict[str, JsonValue]


@dataclass
class RecordedCall:
    """`state` is "abandoned" when the caller hung up before the end of the answer."""

    rule: int | None
    status: int
    body: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict)
    state: Literal["open", "answered", "abandoned"] = "open"

    @property
    def prompt(self) -> str:
        return prompt_of(self.body)


@dataclass
class ScriptedModelServer:
    script: Script
    calls: list[RecordedCall] = field(default_factory=list)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://{_LISTEN_HOST}:{self.port}/v1"

    @property
    def calls_url(self) -> str:
        return f"http://{_LISTEN_HOST}:{self.port}/calls"

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[ScriptedModelServer]:
        connections: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve_connection(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(connected, _LISTEN_HOST, port)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            await server.wait_closed()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One request per connection keeps a cut unmistakable.
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                target, headers, body = await _read_request(reader)
                await _unless_hung_up(reader, self._answer(target, headers, body, writer))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, target: str, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        if target == "GET /calls":
            calls: list[JsonValue] = [
                {"rule": c.rule, "status": c.status, "state": c.state, "body": c.body} for c in self.calls
            ]
            await _send_json(writer, 200, {"count": len(calls), "calls": calls})
        elif target == "GET /health":
            await _send_json(writer, 200, {"status": "ok"})
        elif target == "GET /v1/models":
            await _send_json(writer, 200, {"object": "list", "data": [{"id": self.script.model, "object": "model"}]})
        elif target != "POST /v1/chat/completions":
            await _send_json(writer, 404, _error("no such path"))
        else:
            await self._complete(headers, json.loads(body), writer)

    async def _complete(self, headers: Mapping[str, str], body: JsonObject, writer: asyncio.StreamWriter) -> None:
        rule, reply = self._choose(headers, body)
        call = RecordedCall(rule, reply.status, body, headers)
        self.calls.append(call)
        try:
            await self._send_reply(body, reply, writer)
            call.state = "answered"
        finally:
            if call.state == "open":
                call.state = "abandoned"

    async def _send_reply(self, body: JsonObject, reply: ScriptedReply, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(reply.delay_seconds)
        if reply.status != 200:
            extra = {} if reply.retry_after is None else {"Retry-After": reply.retry_after}
            await _send_json(writer, reply.status, _error(reply.error), extra)
        elif body.get("stream"):
            await self._stream(body, reply, writer)
        else:
            await _send_json(writer, 200, self._whole_answer(body, reply))

    def _choose(self, headers: Mapping[str, str], body: JsonObject) -> tuple[int | None, ScriptedReply]:
        key, request_text = self.script.api_key, json.dumps(body)
        if key is not None and headers.get("authorization") != f"Bearer {key}":
            return None, ScriptedReply(status=401, error="wrong key")
        for word in self.script.refuses:
            if word in request_text:
                return None, ScriptedReply(status=400, error=f"{word} is not supported")
        prompt = prompt_of(body)
        for index, rule in enumerate(self.script.rules):
            if self._applies(index, rule, prompt):
                return index, rule.reply
        return None, ScriptedReply(status=500, error=f"no rule for: {prompt[:200]}")

    def _applies(self, index: int, rule: ScriptedRule, prompt: str) -> bool:
        used = sum(1 for call in self.calls if call.rule == index)
        return (rule.times is None or used < rule.times) and all(words in prompt for words in rule.when)

    def _usage(self, body: JsonObject, reply: ScriptedReply) -> JsonObject:
        counted = len(prompt_of(body)) // 3 if reply.prompt_tokens is None else reply.prompt_tokens
        written = len(reply.text.split())
        return {"prompt_tokens": counted, "completion_tokens": written, "total_tokens": counted + written}

    def _whole_answer(self, body: JsonObject, reply: ScriptedReply) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": reply.text}
        choice: JsonObject = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
        answer: JsonObject = {"id": "scripted", "object": "chat.completion", "created": 0, "model": self.script.model}
        return answer | {"choices": [choice]} | ({"usage": self._usage(body, reply)} if reply.usage else {})

    async def _stream(self, body: JsonObject, reply: ScriptedReply, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for piece in _pieces(reply):
            await self._send_chunk(writer, [{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
        if reply.stall_after is not None:
            await asyncio.sleep(_STALL_SECONDS)
        if reply.cut_after is not None:
            return
        if reply.garbled:
            await _send(writer, b"data: {this is not JSON\n\n")
        await self._send_chunk(writer, [{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}])
        if reply.usage and body.get("stream_options") == {"include_usage": True}:
            await self._send_chunk(writer, [], {"usage": self._usage(body, reply)})
        await _send(writer, b"data: [DONE]\n\n")

    async def _send_chunk(
        self, writer: asyncio.StreamWriter, choices: list[JsonValue], extra: JsonObject | None = None
    ) -> None:
        chunk: JsonObject = {"id": "scripted", "object": "chat.completion.chunk", "created": 0}
        chunk |= {"model": self.script.model}
        chunk |= {"choices": choices}
        await _send(writer, b"data: " + json.dumps(chunk | (extra or {})).encode() + b"\n\n")


def prompt_of(body: JsonObject) -> str:
    """All messages of a request, one after the other."""
    messages = body.get("messages")
    said = [one.get("content") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    return "\n".join(text for text in said if isinstance(text, str))


def _pieces(reply: ScriptedReply) -> Iterator[str]:
    limits = [limit for limit in (reply.stall_after, reply.cut_after) if limit is not None]
    text = reply.text[: min(limits)] if limits else reply.text
    return (text[start : start + _CHUNK_CHARACTERS] for start in range(0, len(text), _CHUNK_CHARACTERS))


async def _unless_hung_up(reader: asyncio.StreamReader, answer: Coroutine[None, None, None]) -> None:
    """Stops answering when the caller closes its connection."""
    answering, hung_up = asyncio.create_task(answer), asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait({answering, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        answering.cancel()
        hung_up.cancel()
        await asyncio.gather(answering, hung_up, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, Mapping[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return f"{method} {path}", headers, body


async def _send_json(
    writer: asyncio.StreamWriter, status: int, value: JsonObject, headers: Mapping[str, str] | None = None
) -> None:
    body = json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} Scripted", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", *(f"{name}: {text}" for name, text in (headers or {}).items())]
    await _send(writer, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _error(message: str) -> JsonObject:
    return {"error": {"message": message, "type": "scripted"}}


async def _serve_until_terminated(script: Script, port: int) -> None:
    async with ScriptedModelServer(script).serving(port) as server:
        print(json.dumps({"base_url": server.base_url, "calls_url": server.calls_url}), flush=True)  # noqa: T201
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves scripted answers as an OpenAI-compatible endpoint.")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_terminated(Script.read(arguments.script), arguments.port))


if __name__ == "__main__":
    main()
