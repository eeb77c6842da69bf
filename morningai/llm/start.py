"""Connects to the model, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morningai.llm.settings import ModelSettings

if TYPE_CHECKING:
    from morningai.llm.client import ModelClient


def connect_model(settings: ModelSettings) -> ModelClient | None:
    """The client, its calls traced; None when no endpoint is configured, and then the OpenAI library is not loaded."""
    if not settings.configured:
        return None
    from morningai.llm.client import ModelClient
    from morningai.llm.tracing import instrument_model_calls

    instrument_model_calls()
    return ModelClient.from_settings(settings)
