"""The functions that a login may execute, tried with what another tenant's rows are called.

A call reaches another tenant when it returns something of its rows that it was not given, or changes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from morningai.db.migrate import SERVICES
from tests.isolation.attempts import NO_PRIVILEGE, Aim, NotTried
from tests.isolation.tables import SCHEMAS
from tests.isolation.world import Connection, World

if TYPE_CHECKING:
    from tests.isolation.filler import Row
    from tests.isolation.tables import Table

FUNCTIONS = """
SELECT n.nspname || '.' || f.proname, f.proargnames[1:f.pronargs]::text[],
  ARRAY(SELECT format_type(t.type, NULL)
        FROM unnest(f.proargtypes) WITH ORDINALITY AS t (type, place) ORDER BY t.place),
  f.provolatile = 'v'
FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
WHERE n.nspname = ANY (%s) AND f.pronargs > 0
  AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(f.oid, 'EXECUTE')
ORDER BY 1, f.oid
"""
# What is no name of a row.
BY_NAME: dict[str, object] = {
    "action": "keys.create",
    "because": "it was a test",
    "before_letter": None,
    "class": "read",
    "in_service": "",
    "in_state": "",
    "limit_name": "tokens_per_day",
    "message_subjects": [""],
    "message_types": ["type-51"],
    "new_kind": "any",
    "new_role": "viewer",
    "old_kind": "any",
    "new_scopes": ["tasks.read"],
    "outcome": "succeeded",
    "producers": ["gateway"],
    "quota": "sources",
    "receivers": ["orchestrator"],
    "scope": "tasks.read",
    "for_kind": "any",
}
BY_TYPE: dict[str, object] = {
    "boolean": False,
    "bigint": 1,
    "bytea": b"x",
    "integer": 100,
    "interval": "1 minute",
    "jsonb": "{}",
    "timestamp with time zone": "2099-01-01T00:00:00Z",
    "timestamp with time zone[]": ["2026-06-01T00:00:00Z"],
}
# What these do to the rows of all tenants is declared by the policies of their owners, with its reason; they change
# nothing but these tables.
DECLARED = {
    # What of any tenant its receiver has not seen goes out again, under its own seal.
    "kernel.resend_lost": {f"{service}.outbox" for service in SERVICES},
    # Whoever calls it has verified the token of the member that it names.
    "tenancy.exchange_identity": {"tenancy.members"},
    # The uses of keys of all tenants are noted in one batch.
    "tenancy.note_key_uses": {"tenancy.api_keys"},
    # What dead callers left is closed, each under the tenant of its own row.
    "tenancy.sweep_reservations": {"tenancy.reservations", "tenancy.spending", "tenancy.usage"},
}


@dataclass(frozen=True)
class Function:
    name: str
    argument_names: tuple[str, ...]
    argument_types: tuple[str, ...]
    writes: bool

    @property
    def statement(self) -> str:
        places = ", ".join(f"%s::{argument_type}" for argument_type in self.argument_types)
        return f"SELECT f::text FROM {self.name}({places}) AS f"


@dataclass(frozen=True)
class Effect:
    """What a call did with rows that are not of its session's tenant."""

    function: str
    told: bool
    changed: frozenset[str]

    def __bool__(self) -> bool:
        return self.told or bool(self.changed)

    @property
    def is_declared(self) -> bool:
        return self.function in DECLARED and self.changed <= DECLARED[self.function]


def functions_of(connection: Connection) -> list[Function]:
    """Those that the session's user may execute and that take arguments."""
    rows = connection.execute(FUNCTIONS, (list(SCHEMAS),)).fetchall()
    return [Function(str(name), tuple(names), tuple(types), bool(writes)) for name, names, types, writes in rows]  # type: ignore[arg-type]


def calls_of(world: World, function: Function, victim: UUID) -> Iterator[list[object]]:
    """Arguments that name the victim's rows: each name once in every place, and those called after a key together."""
    keys = [_key(table, world.loose[victim][str(table)]) for table in world.tables]
    values = list(dict.fromkeys([victim, *(value for key in keys for value in key.values())]))
    uuids = [value for value in values if isinstance(value, UUID)]
    texts = [value for value in values if isinstance(value, str)]
    given = {"uuid": uuids, "text": texts, "uuid[]": [[uuid] for uuid in uuids], "text[]": [[text] for text in texts]}
    arguments = list(zip(function.argument_names, function.argument_types, strict=True))
    varied = [given[kind] for name, kind in arguments if kind in given and name not in BY_NAME]
    for number in range(max(map(len, varied), default=1)):
        yield [_argument(name, kind, given, number) for name, kind in arguments]
    for key in keys:
        called = {name: value for name, _ in arguments for column, value in key.items() if name.endswith(f"_{column}")}
        if len(called) > 1:
            yield [called.get(name) or _argument(name, kind, given, 0) for name, kind in arguments]


def _key(table: Table, row: Row) -> Row:
    return {column.name: row[column.name] for column in table.columns if column.in_key and column.name in row}


def _argument(name: str, kind: str, given: dict[str, list[object]], number: int) -> object:
    if name in BY_NAME:
        return BY_NAME[name]
    if kind in given:
        return given[kind][number % len(given[kind])]
    if kind not in BY_TYPE:
        raise NotTried(f"tests/isolation/functions.py has no value of type {kind} for {name}. Add it to BY_TYPE.")
    return BY_TYPE[kind]


def effect_of(world: World, connection: Connection, function: Function, aim: Aim) -> tuple[int, Effect]:
    """How many calls were tried in the session of `World.acting`, and what they did. Raises NotTried."""
    secrets = _secrets(world, aim.victim)
    calls = list(calls_of(world, function, aim.victim))
    connection.execute("SAVEPOINT function")
    before = _fingerprints(world, connection, aim) if function.writes else {}
    answers = [(call, _answer(connection, function, call)) for call in calls]
    after = _fingerprints(world, connection, aim) if function.writes else {}
    connection.execute("ROLLBACK TO SAVEPOINT function")
    told = any(secret in answer and secret not in str(call) for call, answer in answers for secret in secrets)
    return len(calls), Effect(function.name, told, frozenset(name for name in before if before[name] != after[name]))


def _answer(connection: Connection, function: Function, call: list[object]) -> str:
    """Empty when it is refused."""
    connection.execute("SAVEPOINT call")
    try:
        answer = str(connection.execute(function.statement, call).fetchall())  # type: ignore[arg-type]
    except psycopg.Error as error:
        connection.execute("ROLLBACK TO SAVEPOINT call")
        if error.sqlstate == NO_PRIVILEGE:
            return ""
        raise NotTried(f"{function.name}{call}: {error}") from error
    connection.execute("RELEASE SAVEPOINT call")
    return answer


def _fingerprints(world: World, connection: Connection, aim: Aim) -> dict[str, object]:
    """Of every table's rows that are not of the session's tenant, as the superuser sees them."""
    connection.execute("SAVEPOINT look")
    connection.execute("RESET SESSION AUTHORIZATION")
    query = " UNION ALL ".join(_fingerprint(table, aim) for table in world.tables)
    found = {str(name): value for name, value in connection.execute(query).fetchall()}  # type: ignore[arg-type]
    connection.execute("ROLLBACK TO SAVEPOINT look")
    return found


def _fingerprint(table: Table, aim: Aim) -> str:
    return f"SELECT '{table}', string_agg(t::text, ',' ORDER BY t::text) FROM {table} AS t WHERE {aim.foreign}"


def _secrets(world: World, victim: UUID) -> set[str]:
    """The victim, and what its loose rows hold and no other tenant's rows do."""
    others = [row for tenant, rows in world.loose.items() if tenant != victim for row in rows.values()]
    known = {str(value) for row in (*others, *chain(*world.made.values())) for value in row.values()}
    values = [value for row in world.loose[victim].values() for value in row.values()]
    return {str(victim), *(str(value) for value in values if isinstance(value, (str, UUID)))} - known
