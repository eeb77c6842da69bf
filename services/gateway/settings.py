"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from morningai.secrets.key_ring import KeyRing
from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    orchestrator_address: str
    docs_address: str
    faqgen_address: str
    codegen_address: str
    tenancy_address: str
    secret_keys: SecretStr = Field(description="keys that wrap data keys, id:base64 by commas; the first wraps")
    key_cache_seconds: float = Field(default=5.0, ge=0, description="how long a revoked key may still be accepted")
    default_deadline_seconds: float = Field(default=60.0, gt=0, description="for forwarded calls without a deadline")

    @field_validator("secret_keys")
    @classmethod
    def _must_be_keys(cls, value: SecretStr) -> SecretStr:
        KeyRing.parse(value.get_secret_value())
        return value
