"""The scripted model server in a thread of the test's process: rules can be added while a platform talks to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from morningai.testing.model_script import Script, ScriptedReply, ScriptedRule
from morningai.testing.model_server import RecordedCall, ScriptedModelServer
from tests.e2e.platform import eventually

NAME = "scripted-model"
STALL_SECONDS = 3600.0
STALLED = ScriptedReply(delay_seconds=STALL_SECONDS)


class ScriptedModel:
    """Each test teaches rules about a word of its own, so that tests can share the server."""

    def __init__(self, server: ScriptedModelServer) -> None:
        self._server = server

    @property
    def settings(self) -> dict[str, str]:
        """What `morningai up` needs in its environment; retries are quick, so that tests are."""
        return {
            "OPENAI_BASE_URL": self._server.base_url,
            "MORNINGAI_MODEL_NAME": NAME,
            "MORNINGAI_MODEL_RETRY_BASE_SECONDS": "0.05",
        }

    def teach(self, *words: str, replies: tuple[ScriptedReply, ...]) -> None:
        """Prompts with all these words are answered in this order, and with the last reply for ever."""
        for reply in replies[:-1]:
            self.teach_once(*words, reply=reply)
        self._add(ScriptedRule(when=words, reply=replies[-1]))

    def teach_once(self, *words: str, reply: ScriptedReply) -> None:
        """The next prompt with all these words gets this reply, if no earlier rule applies."""
        self._add(ScriptedRule(when=words, times=1, reply=reply))

    def _add(self, rule: ScriptedRule) -> None:
        rules = (*self._server.script.rules, rule)
        self._server.script = self._server.script.model_copy(update={"rules": rules})

    def calls(self, *words: str) -> list[RecordedCall]:
        return [call for call in self._server.calls if all(word in call.prompt for word in words)]

    def wait_for_calls(self, count: int, *words: str) -> list[RecordedCall]:
        def enough() -> list[RecordedCall]:
            found = self.calls(*words)
            return found if len(found) >= count else []

        return eventually(f"{count} calls of the model with {words}", enough)


@contextmanager
def scripted_model(
    *, api_key: str | None = None, make: Callable[[Script], ScriptedModelServer] = ScriptedModelServer
) -> Iterator[ScriptedModel]:
    """One with a key refuses every other."""
    server = make(Script(model=NAME, rules=(), api_key=api_key))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server.serving():
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="scripted model", daemon=True)
    thread.start()
    assert started.wait(10)
    yield ScriptedModel(server)
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()
