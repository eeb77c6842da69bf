"""The six services as parts: their command, their environment, their addresses, and how each says that it is ready."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from morningai.embedded.child_part import ChildRunner
from morningai.embedded.data_dir import DataDir, make_private_folder
from morningai.embedded.health import grpc_is_serving
from morningai.embedded.part import Part
from morningai.embedded.process import ChildProcess, Command

SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
DATABASE = "morningai"
# What only tenancy presents: its second user on the bus, and the issuer of subscribers' credentials.
CALLOUT_USER = "callout"
ISSUER = "issuer"
BUS_SECRETS = (*SERVICES, CALLOUT_USER, ISSUER)
# The login that delivers the gateway's webhooks.
SENDER = "gateway_sender"
_PASSED_NAMES = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "TZ",
        "TMPDIR",
        "VIRTUAL_ENV",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    }
)
# Everything here is on loopback or on sockets, and the probes are plain.
_KEPT_BACK_PREFIXES = ("MORNINGAI_TLS_", "MORNINGAI_INTERNAL_")
_PASSED_PREFIXES = ("LC_", "PYTHON", "OTEL_", "OPENAI_", "MORNINGAI_", "LANGGRAPH_", "GRPC_")


@dataclass(frozen=True)
class ServiceCommand:
    """Arguments that start one service; a test puts a stand-in here."""

    arguments: Callable[[str], tuple[str, ...]] = lambda name: (sys.executable, "-m", f"services.{name}")


@dataclass(frozen=True)
class ServiceConnections:
    """`dsn` is by login, `nats_secrets` by the names of BUS_SECRETS, `secret_keys` by service."""

    dsn: Callable[[str], str]
    nats_url: str
    nats_secrets: Mapping[str, str]
    gateway_address: str
    secret_keys: Mapping[str, str] = field(default_factory=dict)


def passed_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Only what a service has a use for: the caller's other credentials stay with the caller."""
    return {
        name: value
        for name, value in given.items()
        if name.upper() in _PASSED_NAMES
        or (name.startswith(_PASSED_PREFIXES) and not name.startswith(_KEPT_BACK_PREFIXES))
    }


def service_address(name: str, sockets: Path, gateway_address: str) -> str:
    return gateway_address if name == "gateway" else f"unix:{sockets / name}.sock"


def service_environment(
    name: str, data_dir: DataDir, connections: ServiceConnections, *, given: Mapping[str, str]
) -> dict[str, str]:
    sockets = data_dir.sockets()
    addresses = {
        f"MORNINGAI_{other.upper()}_ADDRESS": service_address(other, sockets, connections.gateway_address)
        for other in SERVICES
        if other != name
    }
    kept = {"MORNINGAI_SECRET_KEYS": keys} if (keys := connections.secret_keys.get(name)) else {}
    sender = {"MORNINGAI_SENDER_DSN": connections.dsn(SENDER)} if name == "gateway" else {}
    return {
        **passed_environment(given),
        **addresses,
        **kept,
        **sender,
        "MORNINGAI_DATABASE_DSN": connections.dsn(f"{name}_app"),
        "MORNINGAI_RELAY_DSN": connections.dsn(f"{name}_relay"),
        "MORNINGAI_NATS_URL": connections.nats_url,
        "MORNINGAI_NATS_USER": name,
        "MORNINGAI_NATS_PASSWORD": connections.nats_secrets[name],
        "MORNINGAI_GRPC_ADDRESS": service_address(name, sockets, connections.gateway_address),
        "MORNINGAI_WORK_DIR": str(data_dir.work / name),
        **(_door_environment(connections) if name == "tenancy" else {}),
    }


def _door_environment(connections: ServiceConnections) -> dict[str, str]:
    return {
        "MORNINGAI_CALLOUT_PASSWORD": connections.nats_secrets[CALLOUT_USER],
        "MORNINGAI_ISSUER_SECRET": connections.nats_secrets[ISSUER],
    }


def service_part(name: str, data_dir: DataDir, command: ServiceCommand, environment: Mapping[str, str]) -> Part:
    address = environment["MORNINGAI_GRPC_ADDRESS"]
    child = ChildProcess(
        name,
        Command(command.arguments(name), environment=environment, directory=make_private_folder(data_dir.work / name)),
        log_path=data_dir.log_file(name),
        record_path=data_dir.record_file(name),
    )

    async def serving() -> bool:
        return await grpc_is_serving(address)

    socket = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
    return Part(name, ChildRunner(child, serving, socket=socket), depends_on=("migrate", "nats"))
