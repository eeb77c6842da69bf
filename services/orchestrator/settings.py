"""Settings of the orchestrator."""

from __future__ import annotations

from pydantic import Field

from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    concurrent_tasks: int = Field(default=64, ge=1, description="tasks of all tenants that run at a time; others queue")
    resend_seconds: float = Field(default=30.0, gt=0, description="before an unanswered command is sent again")
    step_deadline_seconds: float = Field(default=3600.0, gt=0, description="before an unanswered step fails")
