"""The passwords of the embedded parts and the operator key: made once per data folder, in 0600 files, not logged."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from morningai.embedded.data_dir import DataDir, write_private_file, write_private_json
from morningai.errors import FailedPrecondition
from morningai.secrets.key_ring import make_key


@dataclass(frozen=True)
class Secrets:
    """Passwords by PostgreSQL login and by NATS user; the keys that wrap data keys by service."""

    postgres: dict[str, str] = field(default_factory=dict, repr=False)
    nats: dict[str, str] = field(default_factory=dict, repr=False)
    secret_keys: dict[str, str] = field(default_factory=dict, repr=False)


def make_password() -> str:
    return secrets.token_urlsafe(32)


def ensure_secrets(
    data_dir: DataDir, *, logins: Iterable[str], bus_users: Iterable[str], keepers: Iterable[str] = ()
) -> Secrets:
    """What exists stays; only new names get a password, or a key where a service keeps credentials."""
    known = _read(data_dir)
    complete = Secrets(
        postgres={login: make_password() for login in logins} | known.postgres,
        nats={user: make_password() for user in bus_users} | known.nats,
        secret_keys={service: make_key("k1") for service in keepers} | known.secret_keys,
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
        # Earlier versions stored no credentials of tenants.
        return Secrets(dict(content["postgres"]), dict(content["nats"]), dict(content.get("secret_keys", {})))
    except (ValueError, KeyError, TypeError) as error:
        raise FailedPrecondition(
            f"{path} is damaged.", remedy="Restore it from a backup: the database knows only these passwords."
        ) from error
