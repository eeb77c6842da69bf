"""Connects to a model: the platform's, if there is one, or a tenant's own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pydantic import SecretStr

from morningai.egress import EgressGuard
from morningai.llm.settings import TENANT_NAMES, ModelSettings

if TYPE_CHECKING:
    from morningai.llm.client import ModelClient

TENANT_ENGINE = "openai-compatible"


def connect_model(settings: ModelSettings) -> ModelClient | None:
    """The client, its calls traced; None when no endpoint is configured, and then the OpenAI library is not loaded."""
    if not settings.configured:
        return None
    return _client_class().from_settings(settings)


async def connect_tenant_model(
    settings: ModelSettings, guard: EgressGuard, *, base_url: str, api_key: str, model: str, context_tokens: int
) -> ModelClient:
    """The client of an endpoint that a tenant chose: of the settings it has the limits, and nothing of the platform's
    endpoint. Raises InvalidInput for an internal address, Unavailable when the name is not resolved."""
    import httpx2

    from morningai.egress_http import PinnedTransport

    url = httpx2.URL(base_url)
    port = url.port or {"https": 443, "http": 80}[url.scheme]
    destination = await guard.check_url(url.scheme, url.host, port, input_field="model_endpoint.base_url")
    own = settings.model_copy(
        update={
            "base_url": base_url,
            "api_key": SecretStr(api_key) if api_key else None,
            "model": model,
            "context_tokens": context_tokens,
            "engine": TENANT_ENGINE,
        }
    )
    return _client_class().connected(own, names=TENANT_NAMES, transport=PinnedTransport(destination))


@cache
def _client_class() -> type[ModelClient]:
    from morningai.llm.client import ModelClient
    from morningai.llm.tracing import instrument_model_calls

    instrument_model_calls()
    return ModelClient
