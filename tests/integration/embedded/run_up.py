"""`up` in a process of its own, with real PostgreSQL and NATS, and stand-ins for the schema and the six services."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from morningai.db.migrate import LOGINS
from morningai.embedded.plan import Kernel
from morningai.embedded.services import ServiceCommand
from morningai.embedded.up import UpOptions, up

SERVICE = Path(__file__).with_name("stand_in_service.py")


def migrate(admin_dsn: str, passwords: dict[str, str]) -> None:
    assert "morningai_admin" in admin_dsn
    assert set(passwords) == set(LOGINS)


def ensure_operator_key(admin_dsn: str, key: str) -> None:
    assert key.startswith("op_")


def nats_authorization(passwords: dict[str, str]) -> str:
    users = [{"user": user, "password": password} for user, password in passwords.items()]
    return f"authorization {json.dumps({'users': users})}"


parser = argparse.ArgumentParser()
parser.add_argument("data_dir", type=Path)
parser.add_argument("port", type=int)
parser.add_argument("--broken", default="")
parser.add_argument("--person", action="store_true")
arguments = parser.parse_args()
kernel = Kernel(
    migrate=migrate,
    ensure_operator_key=ensure_operator_key,
    nats_authorization=nats_authorization,
    command=ServiceCommand(lambda name: (sys.executable, str(SERVICE), name, arguments.broken)),
)
options = UpOptions(
    data_dir=arguments.data_dir,
    port=arguments.port,
    json_output=not arguments.person,
    timings=arguments.person,
    local_model=False,
)
sys.exit(asyncio.run(up(options, kernel)))
