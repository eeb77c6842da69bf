"""Settings of tenancy."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    sweep_seconds: float = Field(default=10.0, gt=0, description="between two looks for reservations of dead callers")
