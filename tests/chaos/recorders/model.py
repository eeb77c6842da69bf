"""A scripted model server that writes down every call it saw, once the call is over or its caller has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from morningai.testing.model_script import ScriptedReply
from morningai.testing.model_server import JsonObject, ScriptedModelServer, prompt_of
from tests.chaos.evidence import MODEL, Journal

# Every so many calls one takes longer than a lease goes without a renewal.
SLOW_EVERY = 8
SLOW_SECONDS = 1.3
TenantOf = Callable[[str], str | None]


def no_tenant(prompt: str) -> str | None:
    return None


@dataclass
class RecordingModelServer(ScriptedModelServer):
    """`tenant_of` tells a prompt's tenant by its words, where they tell it."""

    folder: Path = Path()
    tenant_of: TenantOf = no_tenant

    def __post_init__(self) -> None:
        self._journal = Journal(self.folder, MODEL)

    async def _complete(self, headers: Mapping[str, str], body: JsonObject, writer: asyncio.StreamWriter) -> None:
        began, ordinal = time.time(), len(self.calls)
        try:
            await super()._complete(headers, body, writer)
        finally:
            call = self.calls[ordinal]
            aborted = call.state != "answered"
            self._journal.append(
                {
                    "began": began,
                    "ended": None if aborted else time.time(),
                    "id": headers.get("x-request-id", str(ordinal + 1)),
                    "status": call.status,
                    "aborted": aborted,
                    "tenant": self.tenant_of(prompt_of(body)),
                }
            )

    async def _send_reply(self, body: JsonObject, reply: ScriptedReply, writer: asyncio.StreamWriter) -> None:
        if len(self.calls) % SLOW_EVERY == 0:
            reply = reply.model_copy(update={"delay_seconds": SLOW_SECONDS})
        await super()._send_reply(body, reply, writer)
