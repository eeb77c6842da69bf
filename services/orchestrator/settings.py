"""Settings of the orchestrator."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    resend_seconds: float = Field(default=30.0, gt=0, description="before an unanswered command is sent again")
    step_deadline_seconds: float = Field(default=3600.0, gt=0, description="before an unanswered step fails")
