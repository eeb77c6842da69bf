"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from morningai.egress import AllowList
from morningai.secrets.key_ring import KeyRing
from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    orchestrator_address: str
    docs_address: str
    faqgen_address: str
    codegen_address: str
    tenancy_address: str
    sender_dsn: str = Field(description="libpq connection string of the login that delivers webhooks")
    secret_keys: SecretStr = Field(description="keys that wrap data keys, id:base64 by commas; the first wraps")
    key_cache_seconds: float = Field(
        default=4.0, ge=0, le=4.5, description="how long a revoked key may still be accepted; a watch looks every 0.5 s"
    )
    key_use_seconds: float = Field(default=30.0, gt=0, description="how often the uses of keys are written, in a batch")
    default_deadline_seconds: float = Field(default=60.0, gt=0, description="for forwarded calls without a deadline")

    egress_allowed: str = Field(default="", description="internal hosts and networks that may be posted to, by commas")
    webhook_retry_seconds: tuple[float, ...] = Field(
        default=(5, 300, 1800, 7200, 18000, 36000, 36000), description="before each further try; up to a fifth is added"
    )
    webhook_timeout_seconds: float = Field(default=15.0, gt=0, description="for one try")
    webhook_lease_seconds: float = Field(default=60.0, gt=0, description="a try not ended by then is made again")
    webhook_slots: int = Field(default=64, ge=1, description="tries at a time of this process")
    webhook_slots_per_tenant: int = Field(default=8, ge=1, description="tries at a time of all replicas together")
    webhook_slots_per_endpoint: int = Field(default=4, ge=1, description="tries at a time of all replicas together")
    webhook_overlap_seconds: float = Field(
        default=86400.0, ge=0, description="a replaced secret also signs for so long"
    )
    webhook_lasting_failures: int = Field(default=8, ge=1, description="failed tries in a row that disable an endpoint")
    webhook_lasting_hours: float = Field(default=24.0, ge=0, description="if the first of them is so long ago")
    webhook_certificate_file: Path | None = Field(
        default=None, description="private certificate authority of endpoints"
    )

    @field_validator("egress_allowed")
    @classmethod
    def _must_be_hosts(cls, value: str) -> str:
        AllowList.parse(value.split(","))
        return value

    @field_validator("secret_keys")
    @classmethod
    def _must_be_keys(cls, value: SecretStr) -> SecretStr:
        KeyRing.parse(value.get_secret_value())
        return value

    @field_validator("webhook_lease_seconds")
    @classmethod
    def _must_outlast_a_try(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("webhook_timeout_seconds", 0.0) + 1:
            raise ValueError("must be more than a second longer than MORNINGAI_WEBHOOK_TIMEOUT_SECONDS")
        return value
