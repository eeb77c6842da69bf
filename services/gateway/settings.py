"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    orchestrator_address: str
    docs_address: str
    faqgen_address: str
    codegen_address: str
    tenancy_address: str
    key_cache_seconds: float = Field(default=5.0, ge=0, description="how long a revoked key may still be accepted")
