"""The script of the scripted model server: rules that match on words of the prompt, and answer or fail."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue


class ScriptedReply(BaseModel):
    """What to answer. `json` wins over `content`; the other fields make the answer fail in one way each."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    content: str = ""
    value: JsonValue = None
    """Answered as JSON text."""
    status: int = 200
    error: str = "scripted failure"
    """The server's complaint when `status` is not 200."""
    retry_after: str | None = None
    delay_seconds: float = 0.0
    """Waits before the first byte: a stall, when it is longer than the client's patience."""
    stall_after: int | None = None
    """Falls silent after so many characters, with the connection open."""
    cut_after: int | None = None
    """Closes the connection after so many characters."""
    garbled: bool = False
    """Sends an event that is not JSON."""
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    """Reported instead of the count of words; a small one looks like silent truncation."""
    usage: bool = True

    @property
    def text(self) -> str:
        return self.content if self.value is None else json.dumps(self.value)


class ScriptedRule(BaseModel):
    """Applies to a prompt with all of `when` in it (any prompt without), at most `times` times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: tuple[str, ...] = ()
    times: int | None = None
    reply: ScriptedReply


class Script(BaseModel):
    """The first rule that applies answers; without one the server answers status 500 and the prompt's first words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "scripted-model"
    api_key: str | None = None
    refuses: tuple[str, ...] = ()
    """Requests whose JSON text has one of these words get status 400, e.g. "json_schema" or "stream_options"."""
    rules: tuple[ScriptedRule, ...]

    @classmethod
    def read(cls, path: Path) -> Script:
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    @classmethod
    def of(cls, *replies: ScriptedReply) -> Script:
        """Answers in this order, and the last one for ever."""
        once = (ScriptedRule(reply=reply, times=1) for reply in replies[:-1])
        return cls(rules=(*once, ScriptedRule(reply=replies[-1])))
