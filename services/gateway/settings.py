"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from morningai.settings import ServiceSettings

KIB = 1024
MIB = 1024 * KIB


class Settings(ServiceSettings):
    orchestrator_address: str
    docs_address: str
    faqgen_address: str
    codegen_address: str
    tenancy_address: str
    tls_certificate_file: Path | None = Field(default=None, description="PEM chain of the public door")
    tls_key_file: Path | None = None
    tls_ca_file: Path | None = Field(
        default=None, description="clients must show a certificate that this authority signed"
    )
    reflection: bool = Field(default=False, description="tells anybody, without a key, which RPCs there are")
    key_cache_seconds: float = Field(default=5.0, ge=0, description="how long a revoked key may still be accepted")
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
