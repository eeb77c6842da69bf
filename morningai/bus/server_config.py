"""The configuration of nats-server: three accounts, their users and borders, and who decides about everybody else.

Services share an account with JetStream. Subscribers have an account without: what they may hear is imported into it,
and their acknowledgements leave it under another name, so that nothing a subscriber sends reaches JetStream itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from morningai.bus import subjects
from morningai.bus.issuer import Issuer
from morningai.bus.permissions import SERVICES, inbox_prefix, publish_permissions, subscribe_permissions

SERVICES_ACCOUNT = "MORNINGAI"
SUBSCRIBERS_ACCOUNT = "SUBSCRIBERS"
SYSTEM_ACCOUNT = "SYSTEM"
# Tenancy's second user: answers the server's question who a subscriber is, and disconnects those who may not stay.
CALLOUT_USER = "callout"
CALLOUT_SUBJECT = "$SYS.REQ.USER.AUTH"
LEAVING_SUBJECT = f"$SYS.ACCOUNT.{SUBSCRIBERS_ACCOUNT}.DISCONNECT"
ISSUER = "issuer"
CLUSTER = "morningai"
ROUTES_USER = "route"
# What the configuration needs one secret of each for.
BUS_SECRETS = (*SERVICES, CALLOUT_USER, ISSUER)
AUTHENTICATION_SECONDS = 2
# Of all subscribers together, so that the services always find a place.
MOST_CONNECTIONS = 4096
# Of each connection. The server takes these from the account: of a subscriber's credentials it reads only permissions.
MOST_SUBSCRIPTIONS = 32
LARGEST_ACKNOWLEDGEMENT_BYTES = 256

ACKNOWLEDGEMENTS = f"$JS.ACK.{subjects.PUBLIC_STREAM}.>"
HEARD = (f"{subjects.PUBLIC_PREFIX}.>", f"{subjects.REPLAY_PREFIX}.>")


def nats_authorization(secrets: Mapping[str, str]) -> str:
    """The accounts and authorization of a nats-server configuration; `secrets` are by the names of BUS_SECRETS."""
    callout = {
        "issuer": Issuer(secrets[ISSUER]).public_key,
        "account": SYSTEM_ACCOUNT,
        "auth_users": [*SERVICES, CALLOUT_USER],
    }
    authorization = {"timeout": AUTHENTICATION_SECONDS, "auth_callout": callout}
    return (
        f"accounts {json.dumps(_accounts(secrets), indent=2)}\n"
        f"system_account: {SYSTEM_ACCOUNT}\n"
        f"authorization {json.dumps(authorization, indent=2)}\n"
    )


def nats_tls(certificate: Path, key: Path) -> str:
    """Clients that begin with TLS are served at once, those that wait to be asked for it a moment later."""
    files = {"cert_file": str(certificate), "key_file": str(key), "handshake_first": "300ms"}
    return f"tls {json.dumps(files)}\n"


@dataclass(frozen=True)
class ClusterNode:
    """One node: its name, the address it is found at, and the addresses (host:port) of all nodes, its own too."""

    name: str
    listen: str
    routes: tuple[str, ...]


def nats_cluster(node: ClusterNode, secrets: Mapping[str, str]) -> str:
    """Makes the server a node of a cluster; nodes know each other by a password that is derived from the issuer's.

    Clients are not told of the nodes' addresses, which are inside; they are given the ones to use.
    """
    password = hashlib.sha256(f"morningai.bus.routes|{secrets[ISSUER]}".encode()).hexdigest()
    cluster = {
        "name": CLUSTER,
        "listen": node.listen,
        "no_advertise": True,
        "authorization": {"user": ROUTES_USER, "password": password, "timeout": AUTHENTICATION_SECONDS},
        "routes": [f"nats://{ROUTES_USER}:{password}@{address}" for address in node.routes],
    }
    return f"cluster {json.dumps(cluster, indent=2)}\n"


def server_config(
    secrets: Mapping[str, str], *, store_folder: Path, tls: str = "", node: ClusterNode | None = None
) -> str:
    """A whole configuration for a server of its own, in a container; its state is told on loopback alone."""
    return (
        "listen: 0.0.0.0:4222\n"
        "http: 127.0.0.1:8222\n"
        f"{_node(node, secrets)}"
        f"jetstream {{ store_dir: {json.dumps(str(store_folder))}, max_memory_store: 64MB, max_file_store: 4GB }}\n"
        f"{tls}"
        f"{nats_authorization(secrets)}"
    )


def _node(node: ClusterNode | None, secrets: Mapping[str, str]) -> str:
    return f"server_name: {json.dumps(node.name)}\n{nats_cluster(node, secrets)}" if node else ""


def _accounts(secrets: Mapping[str, str]) -> dict[str, object]:
    services = {
        "jetstream": "enabled",
        "users": [_service_user(service, secrets[service]) for service in SERVICES],
        "exports": [{"stream": subject, "accounts": [SUBSCRIBERS_ACCOUNT]} for subject in HEARD],
        "imports": [
            {
                "stream": {"account": SUBSCRIBERS_ACCOUNT, "subject": ACKNOWLEDGEMENTS},
                "to": f"{subjects.ACKNOWLEDGEMENT_PREFIX}.>",
            }
        ],
    }
    subscribers = {
        "exports": [{"stream": ACKNOWLEDGEMENTS, "accounts": [SERVICES_ACCOUNT]}],
        "imports": [{"stream": {"account": SERVICES_ACCOUNT, "subject": subject}} for subject in HEARD],
        "limits": {
            "max_connections": MOST_CONNECTIONS,
            "max_subscriptions": MOST_SUBSCRIPTIONS,
            "max_payload": LARGEST_ACKNOWLEDGEMENT_BYTES,
        },
    }
    system = {"users": [_callout_user(secrets[CALLOUT_USER])]}
    return {SERVICES_ACCOUNT: services, SUBSCRIBERS_ACCOUNT: subscribers, SYSTEM_ACCOUNT: system}


def _service_user(service: str, password: str) -> dict[str, object]:
    permissions = {"publish": publish_permissions(service), "subscribe": subscribe_permissions(service)}
    return {"user": service, "password": password, "permissions": permissions}


def _callout_user(password: str) -> dict[str, object]:
    permissions = {
        "publish": ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.CONNZ", "$SYS.REQ.SERVER.*.KICK"],
        "subscribe": [CALLOUT_SUBJECT, LEAVING_SUBJECT, f"{inbox_prefix(CALLOUT_USER)}.>"],
        "allow_responses": {"max": 1, "expires": "10s"},
    }
    return {"user": CALLOUT_USER, "password": password, "permissions": permissions}
