"""`python -m morningai.secret_volume FOLDER` makes every password of a deployment, once, each for its owner alone.

Run as root by the one-shot container `secrets`. What exists is kept; what is derived from it is written again, such as
the permissions on the bus. A folder is named after the user that owns it and is closed to everybody else.
"""

from __future__ import annotations

import os
import pwd
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from morningai.bus.permissions import BUS_OWNER, SERVICES
from morningai.bus.server_config import CALLOUT_USER, ISSUER, ClusterNode, nats_tls, server_config
from morningai.db.migrate import LOGINS, password_variable
from morningai.embedded.data_dir import write_private_file
from morningai.secrets.key_ring import KEEPERS, make_key

DATABASE_HOST_VARIABLE = "MORNINGAI_DATABASE_HOST"
BUS_CERTIFICATE_VARIABLE = "MORNINGAI_NATS_CERTIFICATE_FILE"
BUS_NODES_VARIABLE = "MORNINGAI_NATS_NODES"
BUS_KEY_VARIABLE = "MORNINGAI_NATS_KEY_FILE"
DATABASE = "morningai"
SUPERUSER = "postgres"
OWNERS = (*SERVICES, "migrate", "nats")
ROUTES_PORT = 6222
BUS_STORE = Path("/data/jetstream")


@dataclass(frozen=True)
class SecretVolume:
    """`owners` maps the names of folders to user and group; a folder that is not in it stays the writer's."""

    root: Path
    owners: Mapping[str, tuple[int, int]]
    bus_tls: str = ""
    bus_nodes: tuple[str, ...] = ()

    def fill(self, database_host: str) -> None:
        superuser = self._keep("postgres", "password")
        self._write("migrate", "morningai_admin_dsn", _dsn(database_host, SUPERUSER, superuser))
        self._keep("migrate", "morningai_operator_key", new=f"op_{secrets.token_hex(6)}.{_password()}")
        logins = {login: self._keep("migrate", password_variable(login).lower()) for login in LOGINS}
        bus = {service: self._keep(service, "morningai_nats_password") for service in SERVICES}
        bus[CALLOUT_USER] = self._keep(BUS_OWNER, "morningai_callout_password")
        bus[ISSUER] = self._keep(BUS_OWNER, "morningai_issuer_secret")
        for service in SERVICES:
            for variable, login in (("database", f"{service}_app"), ("relay", f"{service}_relay")):
                self._write(service, f"morningai_{variable}_dsn", _dsn(database_host, login, logins[login]))
        self._write("gateway", "morningai_sender_dsn", _dsn(database_host, "gateway_sender", logins["gateway_sender"]))
        for service in KEEPERS:
            self._keep(service, "morningai_secret_keys", new=make_key("k1"))
        self._write("nats", "nats-server.conf", server_config(bus, store_folder=BUS_STORE, tls=self.bus_tls))
        routes = tuple(f"{node}:{ROUTES_PORT}" for node in self.bus_nodes)
        for name in self.bus_nodes:
            node = ClusterNode(name, listen=f"0.0.0.0:{ROUTES_PORT}", routes=routes)
            config = server_config(bus, store_folder=BUS_STORE, tls=self.bus_tls, node=node)
            self._write("nats", f"{name}.conf", config)

    def _keep(self, owner: str, name: str, *, new: str | None = None) -> str:
        """What the file holds; made first where it is missing."""
        path = self.root / owner / name
        if not path.exists():
            self._write(owner, name, new or _password())
        return path.read_text(encoding="utf-8").strip()

    def _write(self, owner: str, name: str, content: str) -> None:
        folder = self.root / owner
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private_file(folder / name, f"{content}\n")
        for path in (folder / name, folder):
            os.chown(path, *self.owners.get(owner, (-1, -1)))


def bus_tls() -> str:
    """Of the files that two variables name, as the bus sees them; empty without. Raises ValueError for one of two."""
    files = [os.environ.get(variable, "") for variable in (BUS_CERTIFICATE_VARIABLE, BUS_KEY_VARIABLE)]
    if not any(files):
        return ""
    if not all(files):
        raise ValueError(f"{BUS_CERTIFICATE_VARIABLE} and {BUS_KEY_VARIABLE}: set both, or none.")
    certificate, key = map(Path, files)
    return nats_tls(certificate, key)


def bus_nodes() -> tuple[str, ...]:
    """The hosts of a cluster; none without one."""
    return tuple(name.strip() for name in os.environ.get(BUS_NODES_VARIABLE, "").split(",") if name.strip())


def system_users() -> dict[str, tuple[int, int]]:
    return {
        user.pw_name: (user.pw_uid, user.pw_gid) for user in pwd.getpwall() if user.pw_name in (*SERVICES, *_OTHERS)
    }


_OTHERS = ("migrate", "nats")


def _password() -> str:
    return secrets.token_urlsafe(32)


def _dsn(host: str, user: str, password: str) -> str:
    return make_conninfo(host=host, dbname=DATABASE, user=user, password=password)


if __name__ == "__main__":
    SecretVolume(Path(sys.argv[1]), system_users(), bus_tls(), bus_nodes()).fill(os.environ[DATABASE_HOST_VARIABLE])
