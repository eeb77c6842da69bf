"""What an endpoint understands of the OpenAI protocol; what it refuses is left out, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Structure(StrEnum):
    """How the endpoint is told the shape of an answer."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


_WEAKER = {Structure.JSON_SCHEMA: Structure.JSON_OBJECT, Structure.JSON_OBJECT: Structure.TEXT}


@dataclass(frozen=True)
class Dialect:
    structure: Structure = Structure.JSON_SCHEMA
    usage_in_stream: bool = True
    temperature: bool = True
    completion_limit: bool = False
    """True for endpoints that take `max_completion_tokens` instead of `max_tokens`."""

    def after_refusal(self, complaint: str, *, structured: bool) -> Dialect | None:
        """The dialect to try after a 400 or 422 with this complaint; None when nothing is left to leave out."""
        if "max_completion_tokens" in complaint and not self.completion_limit:
            return replace(self, completion_limit=True)
        if "stream_options" in complaint and self.usage_in_stream:
            return replace(self, usage_in_stream=False)
        if "temperature" in complaint and self.temperature:
            return replace(self, temperature=False)
        if structured and self.structure in _WEAKER:
            return replace(self, structure=_WEAKER[self.structure])
        return None
