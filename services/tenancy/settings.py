"""Settings of tenancy."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from morningai.egress import EgressList
from morningai.secrets.key_ring import SecretKeys
from morningai.settings import ServiceSettings

# Public keys alone: a shared secret would let whoever can verify a token make one.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Issuer(BaseModel):
    """An identity provider whose tokens are accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, max_length=255, description="`iss` of its tokens, as they spell it")
    audience: str = Field(min_length=1, description="`aud` that its tokens for this platform carry")
    jwks_uri: str = Field(description="where its public keys are; http only for a host in identity_egress_allowed")
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)

    @field_validator("jwks_uri")
    @classmethod
    def _must_be_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
            raise ValueError("must be https://host/path")
        return value


class Settings(ServiceSettings):
    callout_password: str = Field(description="of tenancy's second user on the bus, who admits subscribers")
    issuer_secret: str = Field(description="what the key is derived from that signs subscribers' credentials")
    secret_keys: SecretKeys = Field(description="keys that wrap data keys, id:base64 by commas; the first wraps")
    model_egress_allowed: EgressList = Field(
        default="", description="internal hosts and networks where tenants' own model endpoints may be, by commas"
    )
    connections_per_tenant: int = Field(default=32, ge=1, description="of a tenant's subscribers at a time")
    durables_per_tenant: int = Field(default=32, ge=1, description="keys of a tenant whose replay is kept")
    identity_issuers: tuple[Issuer, ...] = Field(default=(), description="JSON list of the identity providers")
    identity_leeway_seconds: float = Field(default=10.0, ge=0, le=120, description="between two clocks")
    identity_keys_seconds: float = Field(default=300.0, gt=0, description="how long a provider's keys are kept")
    identity_refetch_seconds: float = Field(default=10.0, gt=0, description="between two fetches of a provider's keys")
    identity_egress_allowed: EgressList = Field(
        default="", description="internal hosts and networks that providers' keys may be fetched from, by commas"
    )

    @model_validator(mode="after")
    def _issuers_must_be_distinct_and_encrypted(self) -> Settings:
        if len({issuer.issuer for issuer in self.identity_issuers}) != len(self.identity_issuers):
            raise ValueError("identity_issuers names an issuer twice")
        allowed = {host.strip().lower() for host in self.identity_egress_allowed.split(",")}
        for issuer in self.identity_issuers:
            parts = urlsplit(issuer.jwks_uri)
            if parts.scheme == "http" and parts.hostname not in allowed:
                raise ValueError(
                    f"identity_issuers: {issuer.jwks_uri} must be https, or its host in identity_egress_allowed"
                )
        return self

    sweep_seconds: float = Field(default=10.0, gt=0, description="between two looks for reservations of dead callers")
    usage_days: float = Field(default=400.0, ge=63, description="usage by task and model; budgets look back a month")
