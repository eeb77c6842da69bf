"""Each kind of unprotected object is found by the audit, and a service that finds one does not serve."""

from __future__ import annotations

import asyncio
import os
import sys

import psycopg
import pytest

from morningai.db.audit import audit
from morningai.secrets.key_ring import make_key

OWN = "tenant_id = (SELECT kernel.tenant_id())"
POLICY = f"CREATE POLICY tenant ON gateway.t TO gateway_app USING ({OWN}) WITH CHECK ({OWN})"
SECURITY = "ALTER TABLE gateway.t ENABLE ROW LEVEL SECURITY; ALTER TABLE gateway.t FORCE ROW LEVEL SECURITY"
COLUMNS = "tenant_id uuid NOT NULL DEFAULT kernel.tenant_id(), id uuid NOT NULL, other text"


def table(columns=f"{COLUMNS}, PRIMARY KEY (tenant_id, id)", *, security=SECURITY, policy=POLICY, more=""):
    owner = "ALTER TABLE gateway.t OWNER TO gateway_owner"
    return f"CREATE TABLE gateway.t ({columns}); {owner}; {security}; {policy}; {more}"


def definer(options, *, more=""):
    made = f"CREATE FUNCTION gateway.f() RETURNS int LANGUAGE sql SECURITY DEFINER {options} AS 'SELECT 1'"
    return f"{made}; ALTER FUNCTION gateway.f() OWNER TO gateway_owner; {more}"


FIXED_PATH = "SET search_path = pg_catalog, pg_temp"
ENABLED = "ALTER TABLE gateway.t ENABLE ROW LEVEL SECURITY"
NOT_PUBLIC = "REVOKE ALL ON FUNCTION gateway.f() FROM PUBLIC"

UNPROTECTED = {
    "a table without row level security": (table(security=""), "gateway.t", "not enabled and forced"),
    "a table that does not force it": (table(security=ENABLED), "gateway.t", "not enabled and forced"),
    "a global table without it": (
        table(security="", more="COMMENT ON TABLE gateway.t IS 'global: for the test'"),
        "gateway.t",
        "not enabled and forced",
    ),
    "a table without tenant_id": (
        table("id uuid PRIMARY KEY", policy=""),
        "gateway.t",
        "has no tenant_id uuid NOT NULL",
    ),
    "a nullable tenant_id": (table("tenant_id uuid"), "gateway.t", "has no tenant_id uuid NOT NULL"),
    "a tenant_id that is no uuid": (
        table("tenant_id text NOT NULL", policy=""),
        "gateway.t",
        "has no tenant_id uuid NOT NULL",
    ),
    "a primary key without tenant_id": (table(f"{COLUMNS}, PRIMARY KEY (id)"), "gateway.t", "key t_pkey"),
    "a unique key without tenant_id": (table(f"{COLUMNS}, UNIQUE (id)"), "gateway.t", "key t_id_key"),
    "a foreign key without tenant_id": (
        table(more="ALTER TABLE gateway.t ADD COLUMN k text REFERENCES kernel.proof_keys"),
        "gateway.t",
        "key t_k_fkey",
    ),
    "a unique index without tenant_id": (
        table(more="CREATE UNIQUE INDEX lonely ON gateway.t (id)"),
        "gateway.t",
        "unique index gateway.lonely",
    ),
    "a unique index that only carries tenant_id": (
        table(more="CREATE UNIQUE INDEX lonely ON gateway.t (id) INCLUDE (tenant_id)"),
        "gateway.t",
        "unique index gateway.lonely",
    ),
    "a login that may make temporary tables": (
        "GRANT TEMPORARY ON DATABASE {database} TO gateway_app",
        "gateway_app",
        "may make temporary tables",
    ),
    "a login that may create in its schema": (
        "GRANT CREATE ON SCHEMA gateway TO gateway_app",
        "gateway_app",
        "may create objects in gateway",
    ),
    "an owner that can log in": (
        table(more="ALTER TABLE gateway.t OWNER TO gateway_app"),
        "gateway.t",
        "its owner can log in",
    ),
    "an undeclared policy that shows all": (
        table(more="CREATE POLICY all_of_it ON gateway.t TO gateway_app USING (true)"),
        "gateway.t",
        "policy all_of_it neither",
    ),
    "a policy that takes all": (
        table(policy=f"CREATE POLICY tenant ON gateway.t TO gateway_app USING ({OWN}) WITH CHECK (true)"),
        "gateway.t",
        "policy tenant neither",
    ),
    "a policy that calls per row": (
        table(policy="CREATE POLICY tenant ON gateway.t TO gateway_app USING (tenant_id = kernel.tenant_id())"),
        "gateway.t",
        "policy tenant neither",
    ),
    "a policy to everybody": (
        table(policy=POLICY.replace("TO gateway_app", "TO PUBLIC")),
        "gateway.t",
        "policy tenant applies to everybody",
    ),
    "a login that is a superuser": ("ALTER ROLE gateway_app SUPERUSER", "gateway_app", "superuser"),
    "a login that bypasses policies": ("ALTER ROLE docs_app BYPASSRLS", "docs_app", "bypasses row level security"),
    "a login that creates roles": ("ALTER ROLE docs_relay CREATEROLE", "docs_relay", "may create roles"),
    "a login that replicates": ("ALTER ROLE docs_relay REPLICATION", "docs_relay", "bypasses"),
    "a sender that bypasses policies": ("ALTER ROLE gateway_sender BYPASSRLS", "gateway_sender", "bypasses"),
    "a login in a role": ("GRANT docs_search TO docs_app", "docs_app in docs_search", "a member of a role"),
    "a plain view": (
        "CREATE VIEW gateway.v AS SELECT * FROM gateway.tasks",
        "gateway.v",
        "a view that is not security_invoker",
    ),
    "a view that says no": (
        "CREATE VIEW gateway.v WITH (security_invoker = false) AS SELECT * FROM gateway.tasks",
        "gateway.v",
        "a view that is not security_invoker",
    ),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW gateway.v AS SELECT * FROM gateway.tasks",
        "gateway.v",
        "a materialized view",
    ),
    "a definer function without a search_path": (
        definer("", more=NOT_PUBLIC),
        "gateway.f()",
        "without a fixed search_path",
    ),
    "a definer function for everybody": (definer(FIXED_PATH), "gateway.f()", "everybody may execute"),
    "a definer function granted to everybody": (
        definer(FIXED_PATH, more=f"{NOT_PUBLIC}; GRANT EXECUTE ON FUNCTION gateway.f() TO PUBLIC"),
        "gateway.f()",
        "everybody may execute",
    ),
    "a definer function of a superuser": (
        definer(FIXED_PATH, more=f"{NOT_PUBLIC}; ALTER FUNCTION gateway.f() OWNER TO CURRENT_USER"),
        "gateway.f()",
        "owned by a login or superuser",
    ),
    "a login that truncates": (
        "GRANT TRUNCATE ON gateway.tasks TO gateway_app",
        "gateway.tasks",
        "login gateway_app may TRUNCATE",
    ),
    "everybody truncates": ("GRANT TRUNCATE ON gateway.tasks TO PUBLIC", "gateway.tasks", "everybody may TRUNCATE"),
    "everybody reads": ("GRANT SELECT ON gateway.tasks TO PUBLIC", "gateway.tasks", "everybody may SELECT"),
    "a login in another service's table": (
        "GRANT SELECT ON gateway.tasks TO docs_app",
        "gateway.tasks",
        "login docs_app may SELECT",
    ),
    "a login in another service's column": (
        "GRANT SELECT (state) ON gateway.tasks TO docs_app",
        "gateway.tasks",
        "login docs_app may SELECT",
    ),
}


@pytest.fixture
def mutable(world):
    """A superuser's transaction that is rolled back, roles included."""
    with psycopg.connect(world.database.admin_dsn) as connection:
        yield connection
        connection.rollback()


def test_the_migrated_schema_gives_no_finding(mutable):
    assert audit(mutable) == []


def test_a_table_as_it_should_be_gives_no_finding(mutable):
    mutable.execute(table())
    assert audit(mutable) == []


def test_what_is_declared_with_its_reason_gives_no_finding(mutable):
    mutable.execute(table(policy="CREATE POLICY odd ON gateway.t FOR SELECT TO gateway_relay USING (true)"))
    mutable.execute("COMMENT ON POLICY odd ON gateway.t IS 'declared: for the test'")
    mutable.execute("CREATE VIEW gateway.v WITH (security_invoker) AS SELECT * FROM gateway.t")
    mutable.execute(definer(FIXED_PATH, more=NOT_PUBLIC))
    assert audit(mutable) == []


@pytest.mark.parametrize("kind", UNPROTECTED)
def test_an_unprotected_object_is_found(mutable, kind):
    statements, name, problem = UNPROTECTED[kind]
    mutable.execute(statements.replace("{database}", mutable.info.dbname))
    assert [finding for finding in audit(mutable) if finding.object == name and problem in finding.problem]


async def test_a_service_with_an_unprotected_table_refuses_to_serve(weakened, tmp_path):
    weakened.database.execute("ALTER TABLE gateway.tasks NO FORCE ROW LEVEL SECURITY")
    socket = tmp_path / "tenancy.sock"
    settings = {
        "DATABASE_DSN": weakened.database.dsn("tenancy_app"),
        "RELAY_DSN": weakened.database.dsn("tenancy_relay"),
        "NATS_URL": "nats://127.0.0.1:9",
        "NATS_USER": "tenancy",
        "NATS_PASSWORD": "unused",
        "CALLOUT_PASSWORD": "unused",
        "ISSUER_SECRET": "unused",
        "SECRET_KEYS": make_key("k1"),
        "GRPC_ADDRESS": f"unix:{socket}",
        "WORK_DIR": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.tenancy"),
        env={**os.environ, **{f"MORNINGAI_{name}": value for name, value in settings.items()}},
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await process.communicate()
    assert process.returncode == 1
    assert b"gateway.tasks: row level security is not enabled and forced" in output
    assert not socket.exists()
