"""Ways to write a row other than INSERT and UPDATE, and rows that could have a parent in another tenant alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.isolation.filler import NUMBERS, SPARE, Row, make_row
from tests.isolation.tables import ForeignKey, Table
from tests.isolation.world import Access, Connection, World

Write: TypeAlias = Callable[[Connection], object]
# B has a row of this number in every table and A has not.
ONLY_B_HAS = 2
# What else a row must say that has a reference which rows need not have.
WITH_REFERENCE: dict[tuple[str, str], Row] = {
    ("docs.sources", "docs.artifacts"): {"kind": "upload", "remote_uri": None}
}


def copy_in(table: Table, access: Access, row: Row) -> Write:
    named = _named(access, row)

    def write(connection: Connection) -> None:
        columns = ", ".join(f'"{name}"' for name in named)
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:  # type: ignore[arg-type]
            copy.write_row([row[name] for name in named])

    return write


def upsert(table: Table, access: Access, row: Row) -> Write:
    """On a row that is there, with the same keys."""
    existing = row | make_row(table, 0, {}, 0) | {"tenant_id": row["tenant_id"]}
    named = _named(access, existing)
    places = ", ".join(f"%({name})s" for name in named)
    columns = ", ".join(f'"{name}"' for name in named)
    column = _changeable(table, access)
    statement = (
        f"INSERT INTO {table} ({columns}) VALUES ({places}) "
        f'ON CONFLICT ON CONSTRAINT {table.name}_pkey DO UPDATE SET "{column}" = excluded."{column}"'
        f"{' RETURNING tenant_id' if 'tenant_id' in access.select else ''}"
    )
    return lambda connection: connection.execute(statement, existing)  # type: ignore[arg-type]


def merge(table: Table, access: Access, condition: str) -> str:
    column = _changeable(table, access)
    change = f'UPDATE SET "{column}" = t."{column}"' if access.update else "DELETE"
    return f"MERGE INTO {table} AS t USING (VALUES (1)) AS s (one) ON {condition} WHEN MATCHED THEN {change}"


def merge_in(table: Table, access: Access, row: Row) -> Write:
    named = _named(access, row)
    columns = ", ".join(f'"{name}"' for name in named)
    places = ", ".join(f"%({name})s" for name in named)
    statement = (
        f"MERGE INTO {table} AS t USING (VALUES (1)) AS s (one) ON false "
        f"WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({places})"
    )
    return lambda connection: connection.execute(statement, row)  # type: ignore[arg-type]


def row_of_foreign_parent(world: World, table: Table, key: ForeignKey) -> Row | None:
    """A row of A's that names the parent that only B has; None where the parent's key is made by the table itself."""
    parent = make_row(world.table(key.parent), ONLY_B_HAS, {}, 0)
    named = {own: theirs for own, theirs in zip(key.columns, key.parent_columns, strict=True) if theirs != "tenant_id"}
    if not named or not parent.keys() >= set(named.values()):
        return None
    reference = {own: parent[theirs] for own, theirs in named.items()}
    # Other numbers of the row as large as those of the reference: a version that is named is not above the newest one.
    numbers = [value for value in reference.values() if isinstance(value, int)]
    larger = {column.name: max(numbers) for column in table.columns if numbers and column.type in NUMBERS}
    return {
        "tenant_id": world.a.tenant_id,
        **make_row(table, SPARE, world.made, 0),
        **larger,
        **reference,
        **WITH_REFERENCE.get((str(table), key.parent), {}),
    }


def _named(access: Access, row: Row) -> list[str]:
    return [name for name in row if not access.insert or name in access.insert]


def _changeable(table: Table, access: Access) -> str:
    generated = {column.name for column in table.columns if column.generated}
    return min(access.update - generated, default="tenant_id")
