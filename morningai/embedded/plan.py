"""Which parts an embedded MorningAI has and what each depends on: PostgreSQL, NATS, the model, migrations, services."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from morningai.embedded.data_dir import DataDir
from morningai.embedded.model import default_models_dir
from morningai.embedded.model_server import NoLocalModel, local_model_part
from morningai.embedded.nats import EmbeddedNats
from morningai.embedded.one_shot import OneShot
from morningai.embedded.part import Part
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.embedded.secret import Secrets, ensure_operator_key, ensure_secrets
from morningai.embedded.services import (
    BUS_SECRETS,
    DATABASE,
    SENDER,
    SERVICES,
    ServiceCommand,
    ServiceConnections,
    service_environment,
    service_part,
)
from morningai.secrets.key_ring import KEEPERS

EXTRACTIVE = "extractive"


@dataclass(frozen=True)
class Kernel:
    """What the embedded mode asks of the rest of MorningAI; a test puts stand-ins here."""

    migrate: Callable[[str, dict[str, str]], None]
    ensure_operator_key: Callable[[str, str], None]
    nats_authorization: Callable[[dict[str, str]], str]
    command: ServiceCommand = field(default_factory=ServiceCommand)

    @classmethod
    def real(cls) -> Kernel:
        from morningai.bus.server_config import nats_authorization
        from morningai.db.migrate import ensure_operator_key, migrate

        return cls(migrate=migrate, ensure_operator_key=ensure_operator_key, nats_authorization=nats_authorization)


@dataclass(frozen=True)
class Plan:
    parts: tuple[Part, ...]
    engine: str
    engine_note: str
    bus: str
    database: str


def make_plan(data_dir: DataDir, kernel: Kernel, *, gateway_address: str, local_model: bool) -> Plan:
    secrets = ensure_secrets(data_dir, logins=_logins(), bus_users=BUS_SECRETS, keepers=KEEPERS)
    postgres = EmbeddedPostgres(data_dir.postgres, log_path=data_dir.log_file("postgres"))
    nats = EmbeddedNats(
        data_dir.nats, None, kernel.nats_authorization(dict(secrets.nats)), log_path=data_dir.log_file("nats")
    )
    connections = ServiceConnections(
        dsn=lambda login: postgres.dsn(login, secrets.postgres[login], DATABASE),
        nats_url=nats.url,
        nats_secrets=secrets.nats,
        gateway_address=gateway_address,
        secret_keys=secrets.secret_keys,
    )
    model, engine, note = _model(data_dir, local_model=local_model)
    given = _without_model(os.environ) if engine == EXTRACTIVE else dict(os.environ)
    given |= dict(model.environment) if model else {}
    services = (
        service_part(name, data_dir, kernel.command, service_environment(name, data_dir, connections, given=given))
        for name in SERVICES
    )
    parts = (
        Part("postgres", postgres),
        Part("nats", nats),
        *([model] if model else []),
        _migrate_part(data_dir, kernel, postgres, secrets),
        *services,
    )
    return Plan(parts, engine, note, bus=nats.url, database=f"{DATABASE} in {postgres.sockets}")


def _logins() -> list[str]:
    return [*(f"{service}_{kind}" for service in SERVICES for kind in ("app", "relay")), SENDER]


def _migrate_part(data_dir: DataDir, kernel: Kernel, postgres: EmbeddedPostgres, secrets: Secrets) -> Part:
    def prepare() -> None:
        create_database(postgres.admin_dsn(), DATABASE)
        admin_dsn = postgres.admin_dsn(DATABASE)
        kernel.migrate(admin_dsn, dict(secrets.postgres))
        kernel.ensure_operator_key(admin_dsn, ensure_operator_key(data_dir))

    return Part("migrate", OneShot(prepare), depends_on=("postgres",), one_shot=True, start_timeout_seconds=180.0)


def create_database(admin_dsn: str, name: str) -> None:
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _model(data_dir: DataDir, *, local_model: bool) -> tuple[Part | None, str, str]:
    """The model's part if it is local, the engine's name, and why it is that one."""
    if not local_model:
        return None, EXTRACTIVE, "no model was wanted"
    if os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"):
        name = os.environ.get("MORNINGAI_MODEL_NAME", "the endpoint's model")
        return None, name, os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    found = local_model_part(data_dir, default_models_dir(), os.environ)
    if isinstance(found, NoLocalModel):
        return None, EXTRACTIVE, f"{found.reason} {found.remedy}".strip()
    return found, found.environment["MORNINGAI_MODEL_NAME"], "on this machine"


def _without_model(given: Mapping[str, str]) -> dict[str, str]:
    """Tenants' own endpoints stay."""
    of_platform = ("OPENAI_", "MORNINGAI_MODEL_")
    return {
        name: value
        for name, value in given.items()
        if name == "MORNINGAI_MODEL_EGRESS_ALLOWED" or not name.startswith(of_platform)
    }
