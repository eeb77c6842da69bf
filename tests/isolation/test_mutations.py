"""The isolation tests themselves are tested: each protection is taken away, and the assertion that it serves must fail.

The audit is not asked here. A mutant is killed only by a leak that the named assertion reports.
"""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.isolation.checks import (
    Leaked,
    assert_no_row_at_all,
    assert_no_row_of_another_tenant,
    end_task,
    inbox_takes,
    opens,
    outbox_takes,
    tenants_of_one_prepared_statement,
)
from tests.isolation.tables import APP_LOGINS
from tests.isolation.test_rows import flip_last_digit
from tests.isolation.ways import row_of_foreign_parent

TABLE = "gateway.tasks"
LOGIN = "gateway_app"
OWN = "tenant_id = (SELECT kernel.tenant_id())"

POLICY_SHOWS_ALL = f"ALTER POLICY tenant ON {TABLE} USING (true)"
POLICY_TAKES_ALL = f"ALTER POLICY tenant ON {TABLE} WITH CHECK (true)"
SECURITY_DISABLED = f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY"
LOGIN_OWNS = f"ALTER TABLE {TABLE} OWNER TO {LOGIN}; ALTER TABLE {TABLE} NO FORCE ROW LEVEL SECURITY"
SECOND_POLICY = f"CREATE POLICY second ON {TABLE} TO {LOGIN} USING (true)"
PLAIN_VIEW = f"""
ALTER TABLE {TABLE} RENAME TO kept;
CREATE VIEW {TABLE} AS SELECT * FROM gateway.kept;
GRANT SELECT, INSERT, UPDATE ON {TABLE} TO {LOGIN}
"""
VERIFIER_SAYS_YES = """
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT split_part(current_setting('morningai.proof', true), '|', 3)::uuid
$$
"""
VERIFIER_IGNORES_EXPIRY = """
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT part[3]::uuid FROM string_to_array(current_setting('morningai.proof', true), '|') AS part
  WHERE part[7] = kernel.mac(part[1], array_to_string(part[1:6], '|'))
$$
"""
SEALS_NEVER_END = """
CREATE OR REPLACE FUNCTION kernel.seal_is_in_time(proof kernel.proof) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT true'
"""
RETIRED_KEYS_VERIFY = "UPDATE kernel.proof_keys SET retired_at = NULL"
NULL_MATCHES = f"ALTER POLICY tenant ON {TABLE} USING ({OWN} OR kernel.tenant_id() IS NULL)"


def leaks_of_another_tenant(world):
    with pytest.raises(Leaked) as caught:
        assert_no_row_of_another_tenant(world, LOGIN, (world.table(TABLE),))
    return {leak.action for leak in caught.value.leaks}


def leaks_without_proof(world, proof):
    with pytest.raises(Leaked) as caught:
        assert_no_row_at_all(world, LOGIN, proof, (world.table(TABLE),))
    return {leak.action for leak in caught.value.leaks}


def forged(world):
    return flip_last_digit(world.a.grant())


def expired(world):
    query = "SELECT kernel.mint_grant(%s, 'key:mk_test', ARRAY['tasks.read'], '-1 hour'::interval)"
    return world.database.rows(query, world.a.tenant_id)[0][0]


def test_the_control_without_a_mutation_is_green(weakened):
    assert_no_row_of_another_tenant(weakened, LOGIN)
    assert_no_row_at_all(weakened, LOGIN, forged(weakened))
    assert_no_row_at_all(weakened, LOGIN, expired(weakened))
    assert_no_row_at_all(weakened, LOGIN, None)


@pytest.mark.parametrize(
    ("mutation", "killed_by"),
    [
        (POLICY_SHOWS_ALL, {"select"}),
        (POLICY_TAKES_ALL, {"insert", "move"}),
        (SECURITY_DISABLED, {"select", "update", "insert", "move"}),
        (LOGIN_OWNS, {"select", "update", "delete", "insert", "move"}),
        (SECOND_POLICY, {"select", "update", "insert", "move"}),
        (PLAIN_VIEW, {"select", "update", "insert", "move"}),
    ],
    ids=[
        "a policy that shows all",
        "a policy that takes all",
        "row level security disabled",
        "the login owns the table",
        "a second policy",
        "a view in the place of the table",
    ],
)
def test_a_lost_protection_is_noticed(weakened, mutation, killed_by, killed):
    weakened.database.execute(mutation)
    killed(killed_by, leaks_of_another_tenant(weakened))


@pytest.mark.parametrize(
    ("mutation", "proof", "killed_by"),
    [
        (POLICY_SHOWS_ALL, forged, {"select"}),
        (POLICY_TAKES_ALL, forged, {"insert"}),
        (SECURITY_DISABLED, expired, {"select", "update", "insert"}),
        (VERIFIER_SAYS_YES, forged, {"select", "update", "insert"}),
        (VERIFIER_SAYS_YES, expired, {"select", "update", "insert"}),
        (VERIFIER_IGNORES_EXPIRY, expired, {"select", "update", "insert"}),
        (NULL_MATCHES, forged, {"select"}),
    ],
    ids=[
        "a policy that shows all",
        "a policy that takes all",
        "row level security disabled",
        "a verifier that says yes to a forged proof",
        "a verifier that says yes to an expired proof",
        "a verifier that ignores the expiry",
        "a policy that is true without a tenant",
    ],
)
def test_a_lost_protection_is_noticed_without_a_valid_proof(weakened, mutation, proof, killed_by, killed):
    invalid = proof(weakened)
    weakened.database.execute(mutation)
    killed(killed_by, leaks_without_proof(weakened, invalid))


@pytest.fixture
def bypassing_login(weakened):
    """Roles belong to the whole server, so this one is put right again."""
    weakened.database.execute(f"ALTER ROLE {LOGIN} BYPASSRLS")
    yield weakened
    weakened.database.execute(f"ALTER ROLE {LOGIN} NOBYPASSRLS")


def test_a_login_that_bypasses_row_level_security_is_noticed(bypassing_login):
    assert leaks_of_another_tenant(bypassing_login) >= {"select", "update", "insert", "move"}


def test_a_superuser_login_is_refused_by_the_tests_themselves(weakened):
    weakened.database.execute(f"ALTER ROLE {LOGIN} SUPERUSER")
    try:
        with pytest.raises(AssertionError):
            assert_no_row_of_another_tenant(weakened, LOGIN)
    finally:
        weakened.database.execute(f"ALTER ROLE {LOGIN} NOSUPERUSER")


def on_every_table(statement):
    def change(world):
        for table in world.tables:
            if has_policy(world, table):
                world.database.execute(statement.format(table=table, login=f"{table.schema}_app"))

    return change


def has_policy(world, table):
    found = "SELECT FROM pg_policy WHERE polrelid = %s::text::regclass AND polname = 'tenant'"
    return world.database.rows(found, str(table)) != []


def drop_foreign_keys(world):
    keys = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::text::regclass"
    for table in world.tables:
        for (name,) in world.database.rows(keys, str(table)):
            world.database.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


def bypass(world):
    for login in APP_LOGINS:
        world.database.execute(f"ALTER ROLE {login} BYPASSRLS")


# What is done to every table at once, and the ways that are then open to a login with the privilege.
EVERYWHERE = {
    "a policy that shows all": (on_every_table("ALTER POLICY tenant ON {table} USING (true)"), ("select",)),
    "a policy that takes all": (on_every_table("ALTER POLICY tenant ON {table} WITH CHECK (true)"), ("insert",)),
    "row level security disabled": (
        on_every_table("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
        ("select", "insert", "copy out", "copy in", "merge in"),
    ),
    "a login that owns its tables": (
        on_every_table("ALTER TABLE {table} OWNER TO {login}; ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"),
        ("select", "copy out"),
    ),
    "a login that bypasses row level security": (bypass, ("select", "insert", "copy out", "copy in", "merge in")),
    "foreign keys that are gone": (drop_foreign_keys, ("foreign key",)),
}


@pytest.fixture
def everywhere(weakened):
    """Roles belong to the whole server, so they are put right again."""
    yield weakened
    for login in APP_LOGINS:
        weakened.database.execute(f"ALTER ROLE {login} NOBYPASSRLS")


@pytest.mark.parametrize("mutation", EVERYWHERE)
def test_a_protection_that_any_table_loses_is_noticed(everywhere, mutation, killed):
    change, ways = EVERYWHERE[mutation]
    change(everywhere)
    noticed = {
        (leak.login, leak.table, leak.action.partition(" to ")[0])
        for login in APP_LOGINS
        for leak in leaks_of(everywhere, login)
    }
    killed(open_ways(everywhere, ways), noticed)


def test_a_verifier_that_says_yes_is_noticed_on_every_table(weakened, killed):
    invalid = forged(weakened)
    weakened.database.execute(VERIFIER_SAYS_YES)
    noticed = set()
    for login in APP_LOGINS:
        with pytest.raises(Leaked) as caught:
            assert_no_row_at_all(weakened, login, invalid)
        noticed |= {(leak.login, leak.table, leak.action) for leak in caught.value.leaks}
    mutants = open_ways(weakened, ("select", "copy out", "insert", "merge in"))
    # An inbox asks for the message of a seal as well, which is verified apart.
    killed([m for m in mutants if not (m[1].endswith(".inbox") and m[2] in ("insert", "merge in"))], noticed)


def leaks_of(world, login):
    try:
        assert_no_row_of_another_tenant(world, login)
    except Leaked as leaked:
        return leaked.leaks
    return []


def open_ways(world, ways):
    """The mutants of one mutation: a login, a table and a way for which it has the privilege."""
    return [
        (login, str(table), way)
        for login in APP_LOGINS
        for table in world.tables
        if has_policy(world, table)
        for way in ways
        if is_open(world, table, world.access(login, table), way)
    ]


def is_open(world, table, access, way):
    if way in ("select", "copy out"):
        return bool(access.select)
    if way == "foreign key":
        return bool(access.insert) and any(references(world, table, access))
    # The trigger of an outbox gives a message the tenant of the session.
    return bool(access.insert) and table.name != "outbox"


def references(world, table, access):
    for key in table.foreign_keys:
        row = key.parent != str(table) and row_of_foreign_parent(world, table, key)
        yield bool(row) and set(key.columns) <= access.insert


def test_an_immutable_tenant_is_noticed(weakened):
    weakened.database.execute("ALTER FUNCTION kernel.tenant_id() IMMUTABLE")
    a, b = weakened.a.tenant_id, weakened.b.tenant_id
    assert tenants_of_one_prepared_statement(weakened) != [[a], [b], [a]]


def test_an_inbox_that_takes_any_message_is_noticed(sealed):
    world, _, _, seal = sealed
    world.database.execute(f"ALTER POLICY tenant ON docs.inbox WITH CHECK ({OWN})")
    assert inbox_takes(world, seal, uuid4())


def test_an_outbox_that_does_not_look_at_the_task_is_noticed(sealed):
    world, _, _, seal = sealed
    world.database.execute("DROP TRIGGER seal ON docs.outbox")
    assert outbox_takes(world, seal, world.a.open_task(uuid4()))


def test_a_seal_that_outlives_its_task_is_noticed(sealed):
    world, _, task_id, seal = sealed
    end_task(world, task_id, "11 minutes")
    assert not opens(world, seal)
    world.database.execute(SEALS_NEVER_END)
    assert opens(world, seal)


def test_a_retired_key_that_still_verifies_is_noticed(sealed):
    world, _, _, seal = sealed
    world.database.execute("UPDATE kernel.proof_keys SET minting = false, retired_at = now()")
    assert not opens(world, seal)
    world.database.execute(RETIRED_KEYS_VERIFY)
    assert opens(world, seal)


def test_a_service_that_opens_a_task_of_its_own_is_noticed(weakened):
    grant = weakened.a.grant()
    assert not outbox_takes(weakened, grant, uuid4())
    weakened.database.execute("DROP TRIGGER seal ON docs.outbox")
    assert outbox_takes(weakened, grant, uuid4())
