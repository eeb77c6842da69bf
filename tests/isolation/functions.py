"""Every function that a login may call, with what another tenant's rows are called by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from tests.isolation.checks import Leak, Leaked
from tests.isolation.filler import make_row
from tests.isolation.world import Connection, World, open_or_set

FUNCTIONS = """
SELECT f.oid::regprocedure::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(f.proargtypes) AS t)
FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
WHERE n.nspname = ANY (%(schemas)s) AND f.prorettype <> 'trigger'::regtype AND f.pronargs > 0
  AND has_schema_privilege(%(login)s, n.oid, 'USAGE') AND has_function_privilege(%(login)s, f.oid, 'EXECUTE')
ORDER BY 1
"""
SCHEMAS = ["kernel", "gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy", "public"]
ALWAYS_FIRED = "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgenabled = 'A'"
# What a service does for all tenants at once; each has tests of its own.
FOR_ALL = {
    "tenancy.sweep_reservations(integer)": "charges what expired, each tenant its own",
    "tenancy.allowed_subscribers(uuid[],text[])": "tells the door which connections may stay",
    "tenancy.note_key_uses(text[],timestamp with time zone[])": "notes the uses of many keys at once",
}
VALUES = {
    "integer": "3",
    "bigint": "3",
    "boolean": "true",
    "jsonb": "'{}'",
    "bytea": "''",
    "interval": "'1 minute'",
    "timestamp with time zone": "now()",
    "timestamp with time zone[]": "ARRAY[now()]",
}


@dataclass(frozen=True)
class Call:
    function: str
    statement: str


def calls_of(world: World, login: str) -> list[Call]:
    """Each function with B's id in the place of every id and text, with keys of B's rows, with a word that is in them,
    and with B's API key's id."""
    rows = world.database.rows_of(FUNCTIONS, {"schemas": SCHEMAS, "login": login})
    keys = make_row(world.table("docs.snapshots"), 0, {}, 0)
    snapshot, source = str(keys["snapshot_id"]), str(keys["source_id"])
    tenant, key_id = str(world.b.tenant_id), world.b.api_key.partition(".")[0]
    call = str(make_row(world.table("tenancy.reservations"), 0, {}, 0)["call_id"])
    named = [(tenant, tenant), (snapshot, source), (snapshot, "text"), (call, key_id)]
    return [
        Call(str(function), _statement(str(function), list(types), *names))  # type: ignore[call-overload]
        for function, types in rows
        if function not in FOR_ALL
        for names in named
    ]


def _statement(function: str, types: list[str], identifier: str, text: str) -> str:
    values = VALUES | {
        "uuid": f"'{identifier}'",
        "uuid[]": f"ARRAY['{identifier}']::uuid[]",
        "text": f"'{text}'",
        "text[]": f"ARRAY['{text}']",
    }
    name = function.partition("(")[0]
    return (
        f"SELECT array_agg(r::text ORDER BY r::text) FROM {name}({', '.join(f'{values[t]}::{t}' for t in types)}) AS r"
    )


def assert_no_function_crosses(world: World, login: str, proof: str | None, *, hidden: tuple[UUID, ...]) -> int:
    """No function's answer depends on the rows of the `hidden` tenants, and none changes them. Returns how many calls
    were tried. Raises Leaked."""
    calls = calls_of(world, login)
    with psycopg.connect(world.database.admin_dsn) as connection:
        before = _rows(connection, world, hidden)
        leaks = []
        for call in calls:
            first, after = _answer(connection, world, login, proof, call, hidden)
            if after is not None and after != before:
                leaks.append(Leak(call.function, "change", login))
            without, _ = _answer(connection, world, login, proof, call, hidden, remove=True)
            # Some answers are other ones each time: what is asked again must say the same.
            if first != without and first == _answer(connection, world, login, proof, call, hidden)[0]:
                leaks.append(Leak(call.function, "function", login))
    if leaks:
        raise Leaked(leaks)
    return len(calls)


def _answer(
    connection: Connection,
    world: World,
    login: str,
    proof: str | None,
    call: Call,
    hidden: tuple[UUID, ...],
    *,
    remove: bool = False,
) -> tuple[object, object]:
    """What the login gets, None for an error, and the hidden tenants' rows after it."""
    with connection.transaction(force_rollback=True):
        if remove:
            _remove(connection, world, hidden)
        try:
            with connection.transaction(), _as(connection, login):
                if proof is not None:
                    open_or_set(connection, proof)
                answer = connection.execute(call.statement).fetchone()  # type: ignore[arg-type]
        except psycopg.Error:
            return None, None
        return answer, None if remove else _rows(connection, world, hidden)


@contextmanager
def _as(connection: Connection, login: str) -> Iterator[None]:
    connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(login)))
    connection.execute("SELECT set_config('search_path', %s, true)", (login.rpartition("_")[0],))
    yield
    connection.execute("RESET SESSION AUTHORIZATION")


def _remove(connection: Connection, world: World, hidden: tuple[UUID, ...]) -> None:
    connection.execute("SET LOCAL session_replication_role = replica")
    for (name,) in connection.execute(ALWAYS_FIRED).fetchall():
        connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER ALL")  # type: ignore[arg-type]
    for table in world.tables:
        connection.execute(f"DELETE FROM {table} WHERE tenant_id = ANY (%s)", (list(hidden),))  # type: ignore[arg-type]
    connection.execute("SET LOCAL session_replication_role = origin")


def _rows(connection: Connection, world: World, hidden: tuple[UUID, ...]) -> object:
    """A digest of all rows of these tenants."""
    digest = "md5(string_agg(t::text, '' ORDER BY t::text))"
    parts = " UNION ALL ".join(
        f"SELECT '{table}', {digest} FROM {table} AS t WHERE tenant_id = ANY (%(hidden)s)" for table in world.tables
    )
    return connection.execute(parts, {"hidden": list(hidden)}).fetchall()  # type: ignore[arg-type]
