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
    key_cache_seconds: float = Field(
        default=4.0, ge=0, le=4.5, description="how long a revoked key may still be accepted; a watch looks every 0.5 s"
    )
    key_use_seconds: float = Field(default=30.0, gt=0, description="how often the uses of keys are written, in a batch")
    default_deadline_seconds: float = Field(default=60.0, gt=0, description="for forwarded calls without a deadline")
