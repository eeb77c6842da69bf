"""Settings of tenancy: none beyond those of every service."""

from __future__ import annotations

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    pass
