"""Every protection of the rows that the catalogue names, taken away: a mutant each, for each login it could matter to.

A mutant that changes nothing for a login is not made, by rule: no privilege, no mutant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.isolation.checks import Leaked, try_functions, try_tables
from tests.isolation.proofs import PROOFS, aim_with
from tests.isolation.tables import APP_LOGINS, SCHEMAS, ForeignKey, Table
from tests.isolation.world import World

POLICIES = """
SELECT schemaname || '.' || tablename, policyname, roles::text[], cmd FROM pg_policies
WHERE schemaname = ANY (%s) ORDER BY 1, 2
"""
# Whose rows get the tenant of the session, whatever tenant they name.
STAMPED = """
SELECT t.tgrelid::regclass::text FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid
WHERE f.prosrc LIKE '%NEW.tenant_id :=%' AND pg_get_triggerdef(t.oid) LIKE '%BEFORE INSERT%'
"""
# Definer functions that stand before policies which show their owner everything. Nobody but an operator gets past the
# demand of an operator's scope, so there is no tenant whom a filter behind it keeps out.
FILTERING = """
SELECT n.nspname || '.' || f.proname, pg_get_functiondef(f.oid),
  ARRAY(SELECT r.rolname::text FROM pg_roles AS r WHERE r.rolname = ANY (%s)
        AND has_function_privilege(r.oid, f.oid, 'EXECUTE'))
FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
WHERE n.nspname = ANY (%s) AND f.prosecdef AND f.pronargs > 0 AND f.prosrc NOT LIKE '%%held_scopes(''operator'')%%'
  AND EXISTS (SELECT FROM pg_policy AS p JOIN pg_attribute AS a ON a.attrelid = p.polrelid AND a.attname = 'tenant_id'
              WHERE f.proowner = ANY (p.polroles)
              AND pg_get_expr(p.polqual, p.polrelid) = 'true' AND position(p.polrelid::regclass::text IN f.prosrc) > 0)
ORDER BY 1
"""
TENANT_FILTER = re.compile(r"(?:\w+\.)?tenant_id = (?:tenant|own|kernel\.tenant_id\(\))")
VERIFIER_SAYS_YES = """
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT split_part(current_setting('morningai.proof', true), '|', 3)::uuid
$$
"""
SEALED, GRANTED = "a seal of my own", "a grant of my own"
Cells = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Mutant:
    """`killed_by` are the crossings that must be reported, as targets and operations."""

    name: str
    login: str
    statements: tuple[str, ...]
    tables: tuple[Table, ...]
    killed_by: Cells
    proof: str = SEALED
    functions: tuple[str, ...] = ()


def is_killed(world: World, mutant: Mutant) -> bool:
    """By the named crossings: an error is none. Everything is rolled back, roles included."""
    aim = aim_with(world, mutant.proof)
    with world.acting(mutant.login, PROOFS[mutant.proof](world), mutant.statements) as connection:
        if mutant.functions:
            trial = try_functions(world, connection, aim, names=mutant.functions)
        else:
            trial = try_tables(world, connection, mutant.login, aim, tables=mutant.tables)
    try:
        trial.assert_nothing_leaked(mutant.login)
    except Leaked as leaked:
        return mutant.killed_by <= {(leak.table, leak.action) for leak in leaked.leaks}
    return False


def policies_that_show_all(world: World) -> Iterator[Mutant]:
    for table, policy, login in _policies(world, "ALL", "SELECT"):
        if world.access(login, table).select:
            yield _of_table(table, login, f"ALTER POLICY {policy} ON {table} USING (true)", "select")


def policies_that_take_all(world: World) -> Iterator[Mutant]:
    stamped = _stamped(world)
    for table, policy, login in _policies(world, "ALL", "INSERT", "UPDATE"):
        access = world.access(login, table)
        mutation = f"ALTER POLICY {policy} ON {table} WITH CHECK (true)"
        if "tenant_id" in access.insert and str(table) not in stamped:
            yield _of_table(table, login, mutation, "insert")
        elif "tenant_id" in access.update:
            yield _of_table(table, login, mutation, "move")


def tables_without_security(world: World) -> Iterator[Mutant]:
    stamped = _stamped(world)
    for login, table in _readable(world):
        copied = "tenant_id" in world.access(login, table).insert and str(table) not in stamped
        mutation = f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"
        yield _of_table(table, login, mutation, "select", "copy to", *(["copy from"] if copied else []))


def plain_views(world: World) -> Iterator[Mutant]:
    """Of the superuser, whom policies do not hold."""
    for login, table in _readable(world):
        view = f"{table.schema}.mutant"
        made = f"CREATE VIEW {view} AS SELECT * FROM {table}; GRANT SELECT ON {view} TO {login}"
        yield Mutant(made, login, (made,), (table,), frozenset({(view, "view")}))


def verifiers_that_say_yes(world: World) -> Iterator[Mutant]:
    for login in APP_LOGINS:
        tables = _readable_by(world, login)
        for proof in ("expired", "forged"):
            killed_by = _cells(tables, "select", "copy to")
            yield Mutant(f"yes to {proof}", login, (VERIFIER_SAYS_YES,), tables, killed_by, proof=proof)


def logins_that_own(world: World) -> Iterator[Mutant]:
    for login in APP_LOGINS:
        own = tuple(table for table in world.tables if f"{table.schema}_app" == login)
        owned = "; ".join(f"ALTER TABLE {table} OWNER TO {login}, NO FORCE ROW LEVEL SECURITY" for table in own)
        yield Mutant("owns", login, (owned,), own, _cells(own, "select", "copy to"))


def logins_that_bypass(world: World) -> Iterator[Mutant]:
    for login in APP_LOGINS:
        tables = _readable_by(world, login)
        yield Mutant("bypasses", login, (f"ALTER ROLE {login} BYPASSRLS",), tables, _cells(tables, "select", "copy to"))


def foreign_keys_without_tenant(world: World) -> Iterator[Mutant]:
    """A's rows of the parent go first: the parent's own key without the tenant would hold them twice."""
    for table in world.tables:
        for key in table.foreign_keys:
            for login in APP_LOGINS if key.pairs else ():
                access = world.access(login, table)
                if access.insert:
                    statements = (parents_gone(world, key), _loosened(table, key))
                    killed_by = frozenset({(str(table), f"foreign key {key.name}")})
                    yield Mutant(f"{table}.{key.name}", login, statements, (table,), killed_by)


def parents_gone(world: World, key: ForeignKey) -> str:
    deleted = f"DELETE FROM {key.parent} WHERE tenant_id = '{world.a.tenant_id}'"
    return f"SET LOCAL session_replication_role = replica; {deleted}; SET LOCAL session_replication_role = origin"


def _loosened(table: Table, key: ForeignKey) -> str:
    own, theirs = (", ".join(f'"{name}"' for name in names) for names in zip(*key.pairs, strict=True))
    return f"""
      CREATE UNIQUE INDEX ON {key.parent} ({theirs});
      ALTER TABLE {table} DROP CONSTRAINT "{key.name}";
      ALTER TABLE {table} ADD FOREIGN KEY ({own}) REFERENCES {key.parent} ({theirs}) NOT VALID
    """


def functions_without_filter(world: World) -> Iterator[Mutant]:
    for name, definition, logins in world.database.rows(FILTERING, list(APP_LOGINS), list(SCHEMAS)):
        unfiltered, count = TENANT_FILTER.subn("true", str(definition))
        killed_by = frozenset({(str(name), "function")})
        for login in logins if count else ():  # type: ignore[attr-defined]
            yield Mutant(
                *(f"{name} without filter", str(login), (unfiltered,), (), killed_by),
                proof=GRANTED,
                functions=(str(name),),
            )


def _of_table(table: Table, login: str, mutation: str, *operations: str) -> Mutant:
    return Mutant(mutation, login, (mutation,), (table,), _cells((table,), *operations))


def _cells(tables: tuple[Table, ...], *operations: str) -> Cells:
    return frozenset((str(table), operation) for table in tables for operation in operations)


def _policies(world: World, *commands: str) -> Iterator[tuple[Table, str, str]]:
    by_name = {str(table): table for table in world.tables}
    for name, policy, roles, command in world.database.rows(POLICIES, list(SCHEMAS)):
        if command in commands and name in by_name:
            for login in sorted({*APP_LOGINS} & {*roles}):  # type: ignore[misc]
                yield by_name[str(name)], str(policy), login


def _stamped(world: World) -> set[str]:
    return {str(name) for (name,) in world.database.rows(STAMPED.replace("%", "%%"))}


def _readable(world: World) -> Iterator[tuple[str, Table]]:
    yield from ((login, table) for login in APP_LOGINS for table in _readable_by(world, login))


def _readable_by(world: World, login: str) -> tuple[Table, ...]:
    return tuple(table for table in world.tables if world.access(login, table).select)
