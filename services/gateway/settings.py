"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from morningai.egress import EgressList
from morningai.secrets.key_ring import SecretKeys
from morningai.settings import Dsn, ServiceSettings

KIB = 1024
MIB = 1024 * KIB


class Settings(ServiceSettings):
    orchestrator_address: str
    docs_address: str
    faqgen_address: str
    codegen_address: str
    tenancy_address: str
    sender_dsn: Dsn = Field(description="libpq connection string of the login that delivers webhooks")
    secret_keys: SecretKeys = Field(description="keys that wrap data keys, id:base64 by commas; the first wraps")
    key_cache_seconds: float = Field(
        default=4.0, ge=0, le=4.5, description="how long a revoked key may still be accepted; a watch looks every 0.5 s"
    )
    key_use_seconds: float = Field(default=30.0, gt=0, description="how often the uses of keys are written, in a batch")
    tls_certificate_file: Path | None = Field(default=None, description="PEM chain of the public door")
    tls_key_file: Path | None = None
    tls_ca_file: Path | None = Field(
        default=None, description="clients must show a certificate that this authority signed"
    )
    reflection: bool = Field(default=False, description="tells anybody, without a key, which RPCs there are")
    largest_request_bytes: int = Field(default=4 * MIB, gt=0, description="one message of a caller")
    largest_response_bytes: int = Field(default=16 * MIB, gt=0, description="one message to a caller")
    largest_metadata_bytes: int = Field(default=16 * KIB, gt=0, description="the metadata of a call, the key included")
    streams_per_connection: int = Field(default=100, gt=0, description="calls at a time on one connection")
    concurrent_calls: int = Field(default=2000, gt=0, description="calls at a time in this process, watches included")
    calls_per_tenant: int = Field(default=200, gt=0, description="calls of a tenant at a time, watches apart")
    watches_per_tenant: int = Field(default=100, gt=0, description="watches of a tenant at a time")
    shortest_ping_seconds: float = Field(default=20.0, gt=0, description="clients that ping faster are hung up on")
    keepalive_seconds: float = Field(default=60.0, gt=0, description="a silent client is asked whether it is there")
    connection_age_seconds: float = Field(default=3600.0, gt=0, description="then a client must connect again")
    grace_seconds: float = Field(default=300.0, gt=0, description="what calls get to end on too old a connection")
    connection_idle_seconds: float = Field(default=900.0, gt=0, description="a connection without calls is closed")

    webhook_egress_allowed: EgressList = Field(
        default="", description="internal hosts and networks that webhooks may be posted to, by commas"
    )
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

    webhook_delivery_days: float = Field(default=30.0, ge=8, description="deliveries that succeeded or failed")

    @field_validator("webhook_lease_seconds")
    @classmethod
    def _must_outlast_a_try(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("webhook_timeout_seconds", 0.0) + 1:
            raise ValueError("must be more than a second longer than MORNINGAI_WEBHOOK_TIMEOUT_SECONDS")
        return value
