"""Where the model is and how long it may take; read once from the environment."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from morningai.egress import EgressList

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class SettingNames:
    """What a remedy calls the settings of an endpoint: those of the platform, or those that a tenant stored."""

    base_url: str = "OPENAI_BASE_URL"
    api_key: str = "OPENAI_API_KEY"
    model: str = "MORNINGAI_MODEL_NAME"
    context_tokens: str = "MORNINGAI_MODEL_CONTEXT_TOKENS"


PLATFORM_NAMES = SettingNames()
TENANT_NAMES = SettingNames(
    base_url="the URL of your `morningai model endpoint set`",
    api_key="the key of your `morningai model endpoint set`",
    model="--model of your `morningai model endpoint set`",
    context_tokens="--context-tokens of your `morningai model endpoint set`",
)


class ModelSettings(BaseSettings):
    """`OPENAI_*` are the variables every OpenAI client reads; the others start with `MORNINGAI_MODEL_`."""

    model_config = SettingsConfigDict(
        env_prefix="MORNINGAI_MODEL_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    base_url: str | None = Field(
        default=None, validation_alias="OPENAI_BASE_URL", description="endpoint, up to and including /v1"
    )
    api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    model: str | None = Field(
        default=None,
        validation_alias=AliasChoices("MORNINGAI_MODEL_NAME"),
        description="the name the endpoint knows the model by",
    )
    engine: str = Field(default="openai-compatible", description="what a result names as the engine that wrote it")
    context_tokens: int = Field(default=32_768, ge=512, description="tokens of prompt and answer together")
    max_attempts: int = Field(default=4, ge=1, le=10, description="tries of one call before it counts as unavailable")
    connect_timeout_seconds: float = Field(default=5.0, gt=0)
    inactivity_timeout_seconds: float = Field(
        default=120.0, gt=0, description="longest silence of the server, its reading of the prompt included"
    )
    total_timeout_seconds: float = Field(
        default=600.0, gt=0, description="one call with its retries and its repair, waiting included"
    )
    retry_base_seconds: float = Field(default=0.5, ge=0, description="upper bound of the first wait; doubles each time")
    retry_max_seconds: float = Field(default=20.0, ge=0, description="longest wait, also for a server's Retry-After")
    egress_allowed: EgressList = Field(
        default="", description="internal hosts and networks where tenants' own endpoints may be, by commas"
    )

    @field_validator("base_url")
    @classmethod
    def _must_be_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("OPENAI_BASE_URL must start with http:// or https://")
        return value

    @property
    def configured(self) -> bool:
        return self.base_url is not None or self.api_key is not None
