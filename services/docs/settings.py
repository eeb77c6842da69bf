"""Settings of docs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from morningai.egress import EgressList
from morningai.secrets.key_ring import SecretKeys
from morningai.settings import ServiceSettings


class Settings(ServiceSettings):
    tenancy_address: str
    secret_keys: SecretKeys = Field(description="keys that wrap data keys, id:base64 by commas; the first wraps")
    docs_egress_allowed: EgressList = Field(
        default="", description="internal hosts and networks that remotes may be fetched from, by commas"
    )
    docs_repository_bytes: int = Field(default=1024**3, gt=0, description="largest repository, packed, in bytes")
    docs_upload_bytes: int = Field(default=512 * 1024**2, gt=0, description="largest uploaded bundle, in bytes")
    docs_certificate_file: Path | None = Field(default=None, description="private certificate authority of remotes")
    docs_ssh_key_file: Path | None = None
    docs_ssh_known_hosts_file: Path | None = None
