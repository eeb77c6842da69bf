"""Settings of tenancy, beyond those of every service."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    callout_password: str = Field(description="of tenancy's second user on the bus, who admits subscribers")
    issuer_secret: str = Field(description="what the key is derived from that signs subscribers' credentials")
