"""`python -m morningai.secrets.rewrap SERVICE` wraps every data key of a service with the ring's current key.

For whoever runs the database: MORNINGAI_ADMIN_DSN and the service's MORNINGAI_SECRET_KEYS. No credential is opened, and
nothing stops meanwhile: a service goes on reading what either key wrapped.
"""

from __future__ import annotations

import sys

import psycopg
from psycopg import sql

from morningai.db.migrate import SERVICES
from morningai.db.queries import load_queries
from morningai.secrets.key_ring import KeyRing
from morningai.settings import read_variable

QUERIES = load_queries(__file__)


def rewrap(admin_dsn: str, service: str, ring: KeyRing) -> int:
    """How many data keys were wrapped again. Raises CannotOpen, and changes nothing, when the ring lacks a key."""
    table = sql.Identifier(service, "data_keys")
    with psycopg.connect(admin_dsn) as connection:
        rows = connection.execute(sql.SQL(QUERIES["lock_data_keys"]).format(data_keys=table)).fetchall()
        old = [(tenant_id, key_id, wrapped) for tenant_id, key_id, wrapped in rows if not ring.is_current(wrapped)]
        for tenant_id, key_id, wrapped in old:
            data_key = ring.unwrap(wrapped, tenant_id=tenant_id, data_key_id=key_id)
            connection.execute(
                sql.SQL(QUERIES["update_data_key"]).format(data_keys=table),
                {
                    "tenant_id": tenant_id,
                    "data_key_id": key_id,
                    "wrapped": ring.wrap(data_key, tenant_id=tenant_id, data_key_id=key_id),
                },
            )
    return len(old)


def main() -> None:
    service = sys.argv[1] if len(sys.argv) == 2 else ""
    if service not in SERVICES:
        raise SystemExit(f"usage: python -m morningai.secrets.rewrap {{{','.join(SERVICES)}}}")
    count = rewrap(read_variable("MORNINGAI_ADMIN_DSN"), service, KeyRing.parse(read_variable("MORNINGAI_SECRET_KEYS")))
    sys.stdout.write(f"{count} data keys of {service} were wrapped again.\n")


if __name__ == "__main__":
    main()
