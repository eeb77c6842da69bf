"""A session is verified once, when it is opened, and that holds for its tenant and its transaction alone."""

from __future__ import annotations

import psycopg
import pytest

from tests.isolation.tables import APP_LOGINS
from tests.isolation.world import assert_ordinary

LOGIN = "gateway_app"
MARK = "uuid_hash_extended({tenant}, timestamp_hash_extended(now()::timestamp, 0))"
TENANT = "current_setting('morningai.proof', true)"
OPENS_UNVERIFIED = f"""
CREATE OR REPLACE FUNCTION kernel.open_session(presented text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('morningai.proof', presented, true),
    setval('kernel.session_mark', {MARK.format(tenant="split_part(presented, '|', 3)::uuid")});
END $$
"""
BELIEVES_THE_SETTING = f"""
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT nullif(split_part({TENANT}, '|', 3), '')::uuid
$$
"""


@pytest.fixture
def connection(world):
    with psycopg.connect(world.database.dsn(LOGIN)) as opened:
        assert_ordinary(opened, LOGIN)
        yield opened
        opened.rollback()


def open_session(connection, proof):
    connection.execute("SELECT kernel.open_session(%s)", (proof,))


def say_by_hand(connection, tenant):
    """A proof that names the tenant, and that nobody signed."""
    connection.execute(
        "SELECT set_config('morningai.proof', %s, true)", (f"k1|g|{tenant.tenant_id}|key:x|tasks.read|99999999999|00",)
    )


def tenants_seen(connection):
    return {tenant_id for (tenant_id,) in connection.execute("SELECT tenant_id FROM tasks").fetchall()}


def seen_by_hand(connection, world):
    """What a session sees that opened as A and then names B; and what the next transaction sees that names A."""
    open_session(connection, world.a.grant())
    say_by_hand(connection, world.b)
    within = tenants_seen(connection)
    connection.commit()
    say_by_hand(connection, world.a)
    return within | tenants_seen(connection)


def proofs_by_hand(connection, tenant):
    """What is taken for the proof of a session of the tenant that says more than was signed; and of the next one."""
    open_session(connection, tenant.grant())
    say_by_hand(connection, tenant)
    within = proof_of(connection)
    connection.commit()
    connection.execute("SELECT set_config('morningai.proof', %s, true)", (tenant.grant()[:-1] + "x",))
    return {within, proof_of(connection)} - {None}


def proof_of(connection):
    return connection.execute("SELECT (p).principal FROM kernel.current_proof() AS p").fetchone()[0]


def seen_unverified(connection, world):
    forged = world.a.grant()[:-1] + "x"
    try:
        open_session(connection, forged)
    except psycopg.errors.InsufficientPrivilege:
        return set()
    return tenants_seen(connection)


def test_an_opened_session_sees_its_tenant_s_rows_until_its_transaction_ends(world, connection):
    open_session(connection, world.a.grant())
    assert tenants_seen(connection) == {world.a.tenant_id}
    connection.commit()
    assert tenants_seen(connection) == set()


def test_a_session_that_opens_again_sees_the_other_tenant_alone(world, connection):
    open_session(connection, world.a.grant())
    open_session(connection, world.b.grant())
    assert tenants_seen(connection) == {world.b.tenant_id}


def test_a_savepoint_that_is_rolled_back_ends_the_second_session_and_brings_no_other_back(world, connection):
    open_session(connection, world.a.grant())
    with connection.transaction(force_rollback=True):
        open_session(connection, world.b.grant())
        assert tenants_seen(connection) == {world.b.tenant_id}
    assert tenants_seen(connection) == set()


def test_a_tenant_named_by_hand_gives_no_rows(world, connection):
    assert seen_by_hand(connection, world) == set()


def test_more_scopes_for_the_opened_tenant_are_no_proof(world, connection):
    assert proofs_by_hand(connection, world.a) == set()


def test_the_opened_proof_is_the_session_s(world, connection):
    for proof in (world.a.grant(), world.seal(world.b), world.b.grant()):
        open_session(connection, proof)
        opened = connection.execute("SELECT kernel.current_proof()").fetchone()
        connection.execute("DISCARD SEQUENCES")
        assert connection.execute("SELECT kernel.current_proof()").fetchone() == opened
        connection.rollback()


@pytest.mark.parametrize("local", [True, False], ids=["in the transaction", "on the connection"])
def test_a_valid_proof_that_is_only_set_gives_no_rows(world, connection, local):
    connection.execute("SELECT set_config('morningai.proof', %s, %s)", (world.a.grant(), local))
    assert tenants_seen(connection) == set()
    connection.commit()
    assert tenants_seen(connection) == set()


@pytest.mark.parametrize("forget", ["DISCARD SEQUENCES", "RESET ALL"])
def test_a_session_that_forgets_what_it_verified_sees_its_own_rows_or_none(world, connection, forget):
    open_session(connection, world.a.grant())
    connection.execute(forget)
    assert tenants_seen(connection) <= {world.a.tenant_id}


def test_a_refused_proof_leaves_no_session(world, connection):
    assert seen_unverified(connection, world) == set()
    connection.rollback()
    open_session(connection, world.a.grant())
    with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
        open_session(connection, world.b.grant()[:-1] + "x")
    assert tenants_seen(connection) == {world.a.tenant_id}


@pytest.mark.parametrize("login", APP_LOGINS)
@pytest.mark.parametrize(
    "statement",
    [
        statement.format(mark=mark)
        for mark in ("session_mark", "proof_mark")
        for statement in ("SELECT setval('kernel.{mark}', 1)", "SELECT nextval('kernel.{mark}')", "TABLE kernel.{mark}")
    ],
)
def test_no_service_can_mark_a_session(world, login, statement):
    with psycopg.connect(world.database.dsn(login)) as connection:
        assert_ordinary(connection, login)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_a_proof_that_was_not_verified_is_noticed(weakened, killed):
    weakened.database.execute(OPENS_UNVERIFIED)
    with psycopg.connect(weakened.database.dsn(LOGIN)) as connection:
        killed([weakened.a.tenant_id], seen_unverified(connection, weakened))


def test_a_setting_that_is_believed_is_noticed(weakened, killed):
    weakened.database.execute(BELIEVES_THE_SETTING)
    with psycopg.connect(weakened.database.dsn(LOGIN)) as connection:
        killed([weakened.a.tenant_id, weakened.b.tenant_id], seen_by_hand(connection, weakened))


def test_a_mark_that_outlives_its_transaction_is_noticed(weakened, killed):
    """Both functions with a mark that does not name the transaction."""
    for name in ("tenant_id()", "open_session(text)"):
        source = f"SELECT pg_get_functiondef('kernel.{name}'::regprocedure)"
        body = str(weakened.database.rows(source)[0][0])
        assert "timestamp_hash_extended(now()::timestamp, 0)" in body
        weakened.database.execute(body.replace("timestamp_hash_extended(now()::timestamp, 0)", "0"))
    with psycopg.connect(weakened.database.dsn(LOGIN)) as connection:
        killed([weakened.a.tenant_id], seen_by_hand(connection, weakened))


def test_a_proof_that_is_believed_for_its_tenant_is_noticed(weakened, killed):
    body = str(weakened.database.rows("SELECT pg_get_functiondef('kernel.current_proof()'::regprocedure)")[0][0])
    comparison = """opened := currval('kernel.proof_mark')
      = substring(sha256(timestamptz_send(now()) || convert_to(presented, 'UTF8')) FOR 8)::bigint;"""
    assert comparison in body
    weakened.database.execute(body.replace(comparison, "opened := kernel.tenant_id() IS NOT NULL;"))
    with psycopg.connect(weakened.database.dsn(LOGIN)) as connection:
        killed(["key:x"], proofs_by_hand(connection, weakened.a))
