"""Settings of faqgen."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    docs_address: str
    tenancy_address: str
    docs_timeout_seconds: float = Field(default=30.0, gt=0, description="one call to docs")
