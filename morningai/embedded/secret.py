"""The passwords of the embedded parts and the operator key: made once per data folder, in 0600 files, not logged."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from morningai.embedded.data_dir import DataDir, write_private_file, write_private_json
from morningai.errors import FailedPrecondition


@dataclass(frozen=True)
class Secrets:
    """Passwords by PostgreSQL login and by NATS user."""

    postgres: dict[str, str] = field(default_factory=dict, repr=False)
    nats: dict[str, str] = field(default_factory=dict, repr=False)


def make_password() -> str:
    return secrets.token_urlsafe(32)


def ensure_secrets(data_dir: DataDir, *, logins: Iterable[str], bus_users: Iterable[str]) -> Secrets:
    """Existing passwords stay; only new names get one."""
    known = _read(data_dir)
    complete = Secrets(
        postgres={login: make_password() for login in logins} | known.postgres,
        nats={user: make_password() for user in bus_users} | known.nats,
    )
    if complete != known:
        write_private_json(data_dir.secrets_file, asdict(complete))
    return complete


def ensure_operator_key(data_dir: DataDir) -> str:
    """`op_<id>.<secret>`; the database keeps only a keyed hash of it."""
    path = data_dir.operator_key_file
    if not path.exists():
        write_private_file(path, f"op_{secrets.token_hex(6)}.{make_password()}\n")
    return path.read_text(encoding="utf-8").strip()


def _read(data_dir: DataDir) -> Secrets:
    path = data_dir.secrets_file
    if not path.exists():
        return Secrets()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Secrets(postgres=dict(content["postgres"]), nats=dict(content["nats"]))
    except (ValueError, KeyError, TypeError) as error:
        raise FailedPrecondition(
            f"{path} is damaged.", remedy="Restore it from a backup: the database knows only these passwords."
        ) from error
