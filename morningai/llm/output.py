"""The shape of an answer: told to the endpoint as a JSON schema or in words, and checked when the answer is there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from morningai.llm.dialect import Structure

T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)

JsonObject = dict[str, JsonValue]

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)


class MalformedOutput(Exception):
    """An answer of the wrong shape; the text says what is wrong in words that a model can act on."""


class Output(Protocol[T_co]):
    @property
    def structured(self) -> bool: ...

    def response_format(self, structure: Structure) -> JsonObject | None: ...

    def instruction(self, structure: Structure) -> str: ...

    def parse(self, text: str) -> T_co: ...


@dataclass(frozen=True)
class TextOutput:
    tags: tuple[str, ...] = ()
    structured: bool = False

    def response_format(self, structure: Structure) -> JsonObject | None:
        return None

    def instruction(self, structure: Structure) -> str:
        return ""

    def parse(self, text: str) -> str:
        answer = self._without_tag_lines(_THOUGHT.sub("", text))
        if not answer.strip():
            raise MalformedOutput("the answer is empty")
        return answer

    def _without_tag_lines(self, text: str) -> str:
        tag_lines = {line for tag in self.tags for line in (f"<{tag}>", f"</{tag}>")}
        return "".join(line for line in text.splitlines(keepends=True) if line.strip() not in tag_lines)


@dataclass(frozen=True)
class JsonOutput(Generic[M]):
    schema: type[M]
    structured: bool = True

    def response_format(self, structure: Structure) -> JsonObject | None:
        if structure is Structure.JSON_SCHEMA:
            described: JsonObject = {"name": self.schema.__name__, "schema": strict_schema(self.schema), "strict": True}
            return {"type": "json_schema", "json_schema": described}
        return {"type": "json_object"} if structure is Structure.JSON_OBJECT else None

    def instruction(self, structure: Structure) -> str:
        if structure is Structure.JSON_SCHEMA:
            return ""
        return (
            f"Answer with one JSON object and nothing else. Its JSON schema:\n{json.dumps(strict_schema(self.schema))}"
        )

    def parse(self, text: str) -> M:
        try:
            return self.schema.model_validate_json(_json_text(text))
        except ValidationError as error:
            raise MalformedOutput(_problems(error)) from error


def strict_schema(schema: type[BaseModel]) -> JsonObject:
    """The model's JSON schema with every property required and no other allowed, as strict endpoints want it."""
    closed = _close(schema.model_json_schema())
    assert isinstance(closed, dict)
    return closed


def _close(node: JsonValue) -> JsonValue:
    if isinstance(node, list):
        return [_close(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed: JsonObject = {key: _close(value) for key, value in node.items()}
    if isinstance(properties := closed.get("properties"), dict):
        for described in properties.values():
            if isinstance(described, dict):
                described.pop("default", None)
        closed["required"] = list(properties)
        closed["additionalProperties"] = False
    return closed


def _json_text(text: str) -> str:
    answer = _THOUGHT.sub("", text).strip()
    if answer.startswith("{"):
        return answer
    fenced = _FENCED.search(answer)
    if fenced is not None:
        return fenced[1]
    start, end = answer.find("{"), answer.rfind("}")
    return answer[start : end + 1] if 0 <= start < end else answer


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in found[:5])
