"""Settings that every service has; read once at start from MORNINGAI_* variables.

A variable may be a file instead: of the same name in lower case, in the folder that MORNINGAI_SECRETS_DIR names.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from morningai.errors import MorningAIError

S = TypeVar("S", bound=BaseSettings)
SECRETS_FOLDER_VARIABLE = "MORNINGAI_SECRETS_DIR"


# A server whose machine is gone without a word is noticed after half a minute; libpq itself would wait two hours.
KEEPALIVES = "keepalives_idle=10 keepalives_interval=5 keepalives_count=2 tcp_user_timeout=20000"


class SettingsInvalid(MorningAIError):
    reason = "SETTINGS_INVALID"


def _noticing_dead_servers(dsn: str) -> str:
    try:
        return make_conninfo(KEEPALIVES, **conninfo_to_dict(dsn))
    except psycopg.ProgrammingError as error:
        raise ValueError("is no libpq connection string, such as host=… dbname=… user=… password=…") from error


Dsn = Annotated[str, AfterValidator(_noticing_dead_servers)]


class ServiceSettings(BaseSettings):
    """One frozen object per process; a service adds its own fields in its settings.py."""

    model_config = SettingsConfigDict(
        env_prefix="MORNINGAI_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_dsn: Dsn = Field(description="libpq connection string of the service's login")
    relay_dsn: Dsn = Field(description="libpq connection string of the service's relay login")
    nats_url: str = Field(description="nats://host:port, or tls://host:port; of a cluster the nodes, by commas")
    bus_replicas: int | None = Field(
        default=None, ge=1, le=5, description="nodes of the bus that keep each message; without it as the streams are"
    )
    nats_user: str
    nats_password: str
    nats_ca_file: Path | None = Field(
        default=None, description="who signs the certificate of a bus at tls://; else whom the system trusts"
    )
    grpc_address: str = Field(description="where this service listens: host:port or unix:/path")
    work_dir: Path = Field(description="scratch folder of this service; its content may be deleted at any time")
    replica: str = Field(default=f"{socket.gethostname()}:{os.getpid()}", description="name of this process in leases")
    max_connections: int = Field(default=8, ge=2, description="size of the database pool")
    slots: int = Field(default=2, ge=1, description="pieces of long work at a time")
    lease_seconds: float = Field(default=6.0, gt=1, description="a worker silent for longer loses its work")
    stall_seconds: float = Field(
        default=1800.0, gt=0, description="work that renews its lease and gets no further for longer is begun again"
    )
    ack_wait_seconds: float = Field(
        default=6.0, ge=1, description="a message is delivered again once its handler has been silent for longer"
    )
    max_deliveries: int = Field(default=8, ge=1, description="deliveries before a message becomes a dead letter")
    max_attempts: int = Field(default=5, ge=1, description="attempts at one piece of work that may fail")
    outage_seconds: float = Field(
        default=600.0, gt=0, description="work waits so long in all for services or a database that are away"
    )
    retry_delay_seconds: float = Field(default=1.0, gt=0, description="first delay; doubles, with jitter, to a minute")
    stuck_seconds: float = Field(
        default=60.0, gt=0, description="a service with a loop that is late by longer says it does not serve"
    )
    drain_seconds: float = Field(
        default=5.0, gt=0, description="a service that is asked to stop leaves its handlers so long to end"
    )
    default_deadline_seconds: float = Field(default=60.0, gt=0, description="for calls that bring no deadline")
    longest_deadline_seconds: float = Field(default=3600.0, gt=0, description="for calls with a longer one; streams")
    allow_plaintext: bool = Field(
        default=False, description="without TLS also where other machines can reach it; for a trusted network"
    )
    internal_certificate_file: Path | None = Field(
        default=None, description="PEM chain of this service for mutual TLS between services; all three or none"
    )
    internal_key_file: Path | None = None
    internal_ca_file: Path | None = Field(default=None, description="who signs the certificates of the services")
    retention_sweep_seconds: float = Field(default=300.0, gt=0, description="between two looks for rows that are over")
    retention_batch_rows: int = Field(default=500, ge=1, description="rows deleted in one transaction")
    outbox_days: float = Field(default=8.0, ge=8, description="messages of ended tasks; the bus has them for seven")
    inbox_days: float = Field(default=10.0, gt=8, description="receipts; longer than MORNINGAI_OUTBOX_DAYS")
    ended_work_hours: float = Field(default=24.0, ge=1, description="leases, checkpoints and steps of ended work")
    task_days: float = Field(default=90.0, ge=8, description="ended tasks with their events, and dead letters")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @property
    def nats_urls(self) -> list[str]:
        return [url.strip() for url in self.nats_url.split(",")]

    @field_validator("bus_replicas")
    @classmethod
    def _must_have_a_majority(cls, value: int | None) -> int | None:
        if value is not None and value % 2 == 0:
            raise ValueError("must be 1, 3 or 5: an even number outlives no more deaths than the odd one below it")
        return value

    @field_validator("inbox_days")
    @classmethod
    def _receipts_outlast_messages(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("outbox_days", 0.0):
            raise ValueError("must be more than MORNINGAI_OUTBOX_DAYS: without its receipt a message counts as lost")
        return value


def read_settings(settings: type[S]) -> S:
    """Read the environment once; raises SettingsInvalid that names each wrong variable."""
    try:
        return settings(_secrets_dir=secrets_folder())
    except ValidationError as error:
        lines = [f"MORNINGAI_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsInvalid("The settings are wrong.\n" + "\n".join(lines)) from error


def read_variable(name: str) -> str:
    """One setting of a one-shot: the variable, else its file; raises SettingsInvalid when there is neither."""
    folder = secrets_folder()
    file = folder / name.lower() if folder else None
    if name not in os.environ and file and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    try:
        return os.environ[name]
    except KeyError as error:
        raise SettingsInvalid(f"The settings are wrong.\n{name}: Field required") from error


def secrets_of(settings: BaseSettings) -> Iterator[str]:
    """The passwords and keys among the settings."""
    for name, value in settings:
        if isinstance(value, SecretStr):
            # each key of a list `id:key,id:key` too
            yield from (value.get_secret_value(), *re.split("[:,]", value.get_secret_value()))
        elif name.endswith("_password"):
            yield str(value)
        elif name.endswith("_dsn"):
            yield str(conninfo_to_dict(str(value)).get("password") or "")


def secrets_folder() -> Path | None:
    named = os.environ.get(SECRETS_FOLDER_VARIABLE)
    return Path(named) if named else None
