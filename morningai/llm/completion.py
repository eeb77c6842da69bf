"""What a call to a model brings back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Completion(Generic[T]):
    """`model` is what the server reported; the tokens are those of all attempts and of the repair."""

    value: T
    engine: str
    model: str
    prompt_tokens: int
    completion_tokens: int
