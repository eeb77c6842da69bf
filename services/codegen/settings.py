"""Settings of codegen."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    docs_address: str
    tenancy_address: str
    docs_timeout_seconds: float = Field(default=120.0, gt=0, description="fetching a bundle from docs")
    slots: int = Field(default=1, ge=1, description="changes at a time")
    codegen_attempts: int = Field(default=4, ge=1, description="drafts of one change")
    codegen_tokens: int = Field(default=60_000, ge=1, description="prompt and answer tokens of one change")
    codegen_seconds: float = Field(default=1_800.0, gt=0, description="wall time of one change")
    codegen_test_seconds: float = Field(default=120.0, gt=0, description="wall time of one run of the tests")
