"""The catalogue audit: what a table, policy, key, role, view or function must be for a tenant to stay inside itself.

Runs after every migration and at the start of each service, which refuses to serve on a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg.rows import DictRow

AUDIT_SQL: LiteralString = """
WITH tables AS (
  SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
         r.rolcanlogin AS owner_can_login, coalesce(obj_description(c.oid, 'pg_class'), '') AS comment
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_roles AS r ON r.oid = c.relowner
  WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (%(schemas)s) AND c.relname <> 'schema_migrations'
), tenant_tables AS (
  SELECT * FROM tables WHERE comment NOT LIKE 'global: %%'
), privileges AS (
  SELECT t.schema, t.name, g.grantee, g.privilege_type
  FROM tables AS t JOIN pg_class AS c ON c.oid = t.oid, LATERAL aclexplode(c.relacl) AS g
  UNION
  SELECT t.schema, t.name, g.grantee, g.privilege_type
  FROM tables AS t JOIN pg_attribute AS a ON a.attrelid = t.oid, LATERAL aclexplode(a.attacl) AS g
)
SELECT schema || '.' || name AS object, 'row level security is not enabled and forced' AS problem
FROM tables WHERE NOT (enabled AND forced)
UNION ALL
SELECT schema || '.' || name, 'its owner can log in' FROM tables WHERE owner_can_login
UNION ALL
SELECT schema || '.' || name, 'has no tenant_id uuid NOT NULL and is not declared global'
FROM tenant_tables AS t WHERE NOT EXISTS (
  SELECT FROM pg_attribute AS a
  WHERE a.attrelid = t.oid AND a.attname = 'tenant_id' AND a.attnotnull AND a.atttypid = 'uuid'::regtype)
UNION ALL
SELECT t.schema || '.' || t.name, 'key ' || k.conname || ' does not contain tenant_id'
FROM tenant_tables AS t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype IN ('p', 'u', 'f')
WHERE NOT EXISTS (
  SELECT FROM pg_attribute AS a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id' AND a.attnum = ANY (k.conkey))
UNION ALL
SELECT t.schema || '.' || t.name, 'unique index ' || i.indexrelid::regclass || ' does not contain tenant_id'
FROM tenant_tables AS t JOIN pg_index AS i ON i.indrelid = t.oid AND i.indisunique
WHERE NOT EXISTS (
  SELECT FROM pg_attribute AS a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id'
    AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
UNION ALL
SELECT t.schema || '.' || t.name, 'policy ' || p.polname || ' neither compares tenant_id with the proof nor is declared'
FROM tables AS t JOIN pg_policy AS p ON p.polrelid = t.oid
WHERE coalesce(obj_description(p.oid, 'pg_policy'), '') NOT LIKE 'declared: %%'
  AND NOT (p.polpermissive
           AND coalesce(pg_get_expr(p.polqual, p.polrelid), '') = %(using)s
           AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') = ANY (%(checks)s))
UNION ALL
SELECT t.schema || '.' || t.name, 'policy ' || p.polname || ' applies to everybody'
FROM tables AS t JOIN pg_policy AS p ON p.polrelid = t.oid WHERE 0 = ANY (p.polroles)
UNION ALL
SELECT rolname, 'a login that is superuser, bypasses row level security or may create roles'
FROM pg_roles WHERE rolname ~ '_(app|relay|sender)$' AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication)
UNION ALL
SELECT m.member::regrole || ' in ' || m.roleid::regrole, 'a login that is a member of a role'
FROM pg_auth_members AS m WHERE m.member::regrole::text ~ '_(app|relay|sender)$'
UNION ALL
SELECT rolname, 'a login that may make temporary tables: migrate the database'
FROM pg_roles WHERE rolname ~ '_(app|relay|sender)$' AND has_database_privilege(oid, current_database(), 'TEMPORARY')
UNION ALL
SELECT rolname, 'a login that may create objects in ' || n.nspname
FROM pg_roles AS r, pg_namespace AS n
WHERE rolname ~ '_(app|relay|sender)$' AND NOT rolsuper AND has_schema_privilege(r.oid, n.oid, 'CREATE')
UNION ALL
SELECT n.nspname || '.' || c.relname, 'a view that is not security_invoker, or a materialized view'
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND (c.relkind = 'm' OR (c.relkind = 'v'
  AND NOT coalesce('security_invoker=true' = ANY (c.reloptions) OR 'security_invoker=on' = ANY (c.reloptions), false)))
UNION ALL
SELECT f.oid::regprocedure::text, 'a definer function without a fixed search_path, or owned by a login or superuser'
FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace JOIN pg_roles AS r ON r.oid = f.proowner
WHERE n.nspname = ANY (%(schemas)s) AND f.prosecdef
  AND (r.rolcanlogin OR r.rolsuper OR NOT coalesce(f.proconfig::text LIKE '%%search_path=%%', false))
UNION ALL
SELECT f.oid::regprocedure::text, 'a definer function that everybody may execute'
FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
WHERE n.nspname = ANY (%(schemas)s) AND f.prosecdef
  AND (f.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(f.proacl) AS a WHERE a.grantee = 0))
UNION ALL
SELECT p.schema || '.' || p.name, 'login ' || r.rolname || ' may ' || p.privilege_type
FROM privileges AS p JOIN pg_roles AS r ON r.oid = p.grantee
WHERE r.rolcanlogin AND NOT r.rolsuper AND (split_part(r.rolname, '_', 1) <> p.schema
  OR p.privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN'))
UNION ALL
SELECT p.schema || '.' || p.name, 'everybody may ' || p.privilege_type FROM privileges AS p WHERE p.grantee = 0
ORDER BY 1, 2
"""
OWN = "(tenant_id = ( SELECT kernel.tenant_id() AS tenant_id))"
OWN_MESSAGE = f"({OWN} AND (message_id = ( SELECT kernel.message_id() AS message_id)))"
SCHEMAS = ["kernel", "gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy"]
PARAMETERS = {"schemas": SCHEMAS, "using": OWN, "checks": [OWN, OWN_MESSAGE]}


@dataclass(frozen=True)
class Finding:
    object: str
    problem: str

    def __str__(self) -> str:
        return f"{self.object}: {self.problem}"


def audit(connection: psycopg.Connection) -> list[Finding]:
    return [Finding(*row) for row in connection.execute(AUDIT_SQL, PARAMETERS).fetchall()]


async def audit_at_start(connection: psycopg.AsyncConnection[DictRow]) -> list[Finding]:
    cursor = await connection.execute(AUDIT_SQL, PARAMETERS)
    return [Finding(row["object"], row["problem"]) for row in await cursor.fetchall()]
