"""Which gateway a command talks to, and with which key.

An address that was given comes first, then MORNINGAI_ADDRESS, then the embedded platform that runs on the data folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import platformdirs

from morningai.cli.credentials import FILE_NAME, CredentialsFile
from morningai.errors import InvalidInput, Unauthenticated, Unavailable

EMBEDDED = "embedded"
Principal = Literal["tenant", "operator"]

_HOST_AND_PORT = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_SLUG = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
_LOOPBACK = re.compile(r"unix:.*|(localhost|127\.[0-9.]+|\[::1\]):\d+")


@dataclass(frozen=True)
class ConnectionOptions:
    """What was given on the command line; the environment fills the rest."""

    address: str | None = None
    key: str | None = None
    data_dir: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None


@dataclass(frozen=True)
class Target:
    """An address as gRPC takes it. With TLS, `ca_file` is trusted in place of the system's authorities, and
    `certificate_file` holds the caller's own certificate and its key."""

    address: str
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None

    @property
    def loopback(self) -> bool:
        return _LOOPBACK.fullmatch(self.address) is not None


@dataclass(frozen=True)
class Place:
    """A gateway; `data_dir` only of an embedded one. `label` is what its keys are kept under."""

    target: Target
    label: str
    credentials: CredentialsFile
    data_dir: Path | None = None


def find_place(options: ConnectionOptions, environment: Mapping[str, str]) -> Place:
    """Raises InvalidInput for a wrong address and Unavailable when no embedded platform runs."""
    if options.address and options.data_dir:
        raise InvalidInput("--address", "and --data-dir name two places.", remedy="Give one of them.")
    address = options.address or ("" if options.data_dir else environment.get("MORNINGAI_ADDRESS", ""))
    if address:
        target = _with_files(parse_address(address), options, environment)
        folder = platformdirs.user_config_path("morningai", appauthor=False)
        return Place(target, target.address, CredentialsFile(folder / FILE_NAME))
    data_dir = data_dir_of(options.data_dir, environment)
    target = Target(_embedded_gateway(data_dir))
    return Place(target, EMBEDDED, CredentialsFile(data_dir / FILE_NAME), data_dir)


def find_key(place: Place, options: ConnectionOptions, environment: Mapping[str, str], *, principal: Principal) -> str:
    """Raises Unauthenticated when there is none, InvalidInput for one that cannot be one."""
    if principal == "operator":
        key = options.key or environment.get("MORNINGAI_OPERATOR_KEY") or _operator_key(place)
    else:
        key = options.key or environment.get("MORNINGAI_API_KEY") or place.credentials.default_key(place.label)
    if not key:
        raise _no_key(principal)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInput("key", "has characters that no key has.", remedy="Copy it again, without spaces.")
    return key


def find_tenant(environment: Mapping[str, str]) -> str:
    """The slug in MORNINGAI_TENANT, for a member of several tenants. Raises InvalidInput for what is none."""
    slug = environment.get("MORNINGAI_TENANT", "")
    if slug and not _SLUG.fullmatch(slug):
        raise InvalidInput("MORNINGAI_TENANT", f"'{slug}' is no tenant's name.", remedy="Use the slug, e.g. acme.")
    return slug


def data_dir_of(given: Path | None, environment: Mapping[str, str]) -> Path:
    named = given or (Path(environment["MORNINGAI_DATA_DIR"]) if environment.get("MORNINGAI_DATA_DIR") else None)
    return (named or platformdirs.user_data_path("morningai", appauthor=False)).expanduser().absolute()


def parse_address(address: str) -> Target:
    """host:port or unix:/path in plain, https://host[:port] with TLS."""
    if address.startswith("unix:/"):
        return Target(address)
    tls = address.startswith("https://")
    plain = address.removeprefix("https://").removeprefix("http://").rstrip("/")
    if tls and ":" not in plain.rpartition("]")[2]:
        plain = f"{plain}:443"
    match = _HOST_AND_PORT.fullmatch(plain)
    if not match or not 0 < int(match["port"]) < 65536:
        raise InvalidInput(
            "--address", f"'{address}' is no address.", remedy="Use host:port, unix:/path, or https://host for TLS."
        )
    return Target(plain, tls=tls)


def _with_files(target: Target, options: ConnectionOptions, environment: Mapping[str, str]) -> Target:
    """Raises InvalidInput for a file that is not there, and for one that was given with a plain address."""
    given = {"--ca": options.ca, "--certificate": options.certificate}
    if not target.tls:
        for name, path in given.items():
            if path:
                raise InvalidInput(name, "is for addresses with TLS.", remedy="Give the address as https://host:port.")
        return target
    ca = options.ca or _path(environment.get("MORNINGAI_CA_FILE"))
    certificate = options.certificate or _path(environment.get("MORNINGAI_CERTIFICATE_FILE"))
    for name, path in (("--ca", ca), ("--certificate", certificate)):
        if path and not path.is_file():
            raise InvalidInput(name, f"there is no file {path}.", remedy="Give the path of a PEM file.")
    return replace(target, ca_file=ca, certificate_file=certificate)


def _path(named: str | None) -> Path | None:
    return Path(named).expanduser() if named else None


def _embedded_gateway(data_dir: Path) -> str:
    from morningai.embedded.data_dir import DataDir

    try:
        running = json.loads(DataDir(data_dir).services_file.read_text(encoding="utf-8"))
        gateway, pid = str(running["gateway"]), int(running["pid"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_running(data_dir) from error
    if not _is_alive(pid):
        raise _not_running(data_dir)
    return gateway


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _not_running(data_dir: Path) -> Unavailable:
    return Unavailable(
        f"No MorningAI is running on the data folder {data_dir}.",
        remedy="Start it with `morningai up`, or name a gateway with --address or MORNINGAI_ADDRESS.",
    )


def _operator_key(place: Place) -> str | None:
    from morningai.embedded.data_dir import DataDir

    if place.data_dir is None:
        return None
    try:
        return DataDir(place.data_dir).operator_key_file.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _no_key(principal: Principal) -> Unauthenticated:
    if principal == "operator":
        return Unauthenticated(
            "No operator key is known for this platform.", remedy="Give it with --key or MORNINGAI_OPERATOR_KEY."
        )
    return Unauthenticated(
        "No API key is known for this platform.",
        remedy="Create a tenant with `morningai tenant create NAME`, or give a key with MORNINGAI_API_KEY.",
    )
