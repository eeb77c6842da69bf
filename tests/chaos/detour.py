"""A patch of a service's process: it reaches NATS and PostgreSQL through the proxies of the run."""

from __future__ import annotations

import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

NATS = "MORNINGAI_CHAOS_NATS"
POSTGRES = "MORNINGAI_CHAOS_POSTGRES"
DSNS = ("MORNINGAI_DATABASE_DSN", "MORNINGAI_RELAY_DSN", "MORNINGAI_SENDER_DSN")


def install(folder: Path, service: str) -> None:
    os.environ["MORNINGAI_NATS_URL"] = os.environ[NATS]
    for name in DSNS:
        if name in os.environ:
            parameters = conninfo_to_dict(os.environ[name]) | {"host": os.environ[POSTGRES]}
            os.environ[name] = make_conninfo(**parameters)
