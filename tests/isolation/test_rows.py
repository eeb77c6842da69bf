"""As each login in SQL: what proofs open, what a login may never do, and what those without a proof may.

test_matrix.py tries every operation on every table.
"""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.isolation.checks import (
    assert_no_row_at_all,
    inbox_takes,
    outbox_takes,
    send,
    tenants_of_one_prepared_statement,
)
from tests.isolation.tables import APP_LOGINS, RELAY_LOGINS


def mint(world, lifetime):
    query = "SELECT kernel.mint_grant(%s, 'key:mk_test', ARRAY['tasks.read', 'tasks.write'], %s::interval)"
    return world.database.rows(query, world.a.tenant_id, lifetime)[0][0]


def prolong(grant):
    parts = grant.split("|")
    return "|".join([*parts[:5], "99999999999", parts[6]])


INVALID_PROOFS = {
    "empty": lambda world: "",
    "the tenant's id": lambda world: str(world.a.tenant_id),
    "bars": lambda world: "||||||",
    "a quote": lambda world: "' OR true --",
    "unsigned": lambda world: world.a.grant().rpartition("|")[0],
    "without a key": lambda world: "|" + world.a.grant().partition("|")[2],
    "with another key": lambda world: "k2|" + world.a.grant().partition("|")[2],
    "of B with A's name": lambda world: world.b.grant().replace(str(world.b.tenant_id), str(world.a.tenant_id)),
    "made longer": lambda world: world.a.grant() + "|x",
    "a grant called a seal": lambda world: world.a.grant().replace("|g|", "|s|"),
    "expired long ago": lambda world: mint(world, "-100 years"),
    "expired and prolonged": lambda world: prolong(mint(world, "-1 second")),
}


@pytest.mark.parametrize("kind", INVALID_PROOFS)
@pytest.mark.parametrize("login", APP_LOGINS)
def test_without_a_valid_proof_there_is_no_row(world, login, kind):
    assert_no_row_at_all(world, login, INVALID_PROOFS[kind](world))


def test_the_proof_that_the_expired_one_is_compared_with_is_valid(world):
    with world.session("gateway_app", mint(world, "1 minute")) as connection:
        assert connection.execute("SELECT kernel.tenant_id()").fetchone() == (world.a.tenant_id,)


@pytest.mark.parametrize("kind", INVALID_PROOFS)
def test_no_session_opens_with_an_invalid_proof(world, kind):
    with (
        world.session("gateway_app", None) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="missing, forged or expired"),
    ):
        connection.execute("SELECT kernel.open_session(%s)", (INVALID_PROOFS[kind](world),))


@pytest.mark.parametrize("kind", INVALID_PROOFS)
@pytest.mark.parametrize("login", APP_LOGINS)
def test_no_message_is_received_with_an_invalid_proof(sealed, login, kind):
    """And the one before it leaves no receipt."""
    world, message_id, _, seal = sealed
    given = {"proofs": [seal, INVALID_PROOFS[kind](world)], "ids": [message_id, uuid4()]}
    with world.session(login, None) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("SELECT kernel.receive(%(proofs)s, %(ids)s, 'c', ARRAY['t', 't'])", given)
        connection.execute("SELECT kernel.open_session(%s)", (seal,))
        assert connection.execute("SELECT count(*) FROM inbox WHERE consumer = 'c'").fetchone() == (0,)


def test_a_proof_ends_with_its_transaction(world):
    with psycopg.connect(world.database.dsn("gateway_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (world.a.grant(),))
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (world.counts(world.a)["gateway.tasks"],)
        connection.commit()
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (0,)


def test_a_prepared_statement_does_not_remember_the_tenant(world):
    assert tenants_of_one_prepared_statement(world) == [[world.a.tenant_id], [world.b.tenant_id], [world.a.tenant_id]]


@pytest.mark.parametrize("login", APP_LOGINS)
def test_a_seal_opens_its_own_tenant_and_no_other(sealed, login):
    world, message_id, task_id, seal = sealed
    query = "SELECT (p).kind, (p).tenant_id, (p).task_id, (p).message_id FROM kernel.current_proof() AS p"
    with world.session(login, None) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (seal,))
        assert connection.execute(query).fetchone() == ("s", world.a.tenant_id, task_id, message_id)
        assert connection.execute("SELECT DISTINCT tenant_id FROM outbox").fetchall() == [(world.a.tenant_id,)]


@pytest.mark.parametrize("part", range(8))
def test_a_seal_with_another_part_opens_nothing(sealed, part):
    world, _, _, seal = sealed
    parts = seal.split("|")
    parts[part] = str(uuid4())
    assert_no_row_at_all(world, "gateway_app", "|".join(parts), (world.table("gateway.outbox"),))


def test_the_inbox_takes_the_message_of_the_seal(sealed):
    world, message_id, _, seal = sealed
    assert inbox_takes(world, seal, message_id)


def test_the_inbox_takes_no_other_message(sealed):
    world, _, _, seal = sealed
    assert not inbox_takes(world, seal, uuid4())


def test_the_inbox_takes_no_message_in_the_session_of_a_grant(sealed):
    world, message_id, _, _ = sealed
    assert not inbox_takes(world, world.a.grant(), message_id)


def test_a_message_of_the_same_task_is_sealed_for_the_same_principal(sealed):
    world, _, task_id, seal = sealed
    with psycopg.connect(world.database.dsn("docs_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (seal,))
        message_id = send(connection, task_id)
    reply = world.database.rows("SELECT seal FROM docs.outbox WHERE id = %s", message_id)[0][0]
    assert reply.split("|")[:6] == seal.split("|")[:6]
    assert reply.split("|")[6] == str(message_id)


def test_in_the_session_of_a_seal_its_own_task_alone_is_written_to(sealed):
    world, _, task_id, seal = sealed
    assert outbox_takes(world, seal, task_id)
    assert not outbox_takes(world, seal, world.a.open_task(uuid4()))


def test_a_sender_chooses_neither_tenant_nor_seal(sealed):
    world, _, task_id, _ = sealed
    with world.session("gateway_app", world.a.grant()) as connection:
        message_id = send(connection, task_id, tenant_id=world.b.tenant_id, seal="mine")
        row = connection.execute("SELECT tenant_id, seal FROM outbox WHERE id = %s", (message_id,)).fetchone()
    assert row[0] == world.a.tenant_id
    assert row[1].startswith(f"k1|s|{world.a.tenant_id}|")


FORBIDDEN = [
    "SELECT kernel.mint_grant(tenant_id, 'me', ARRAY['operator']) FROM (SELECT gen_random_uuid() AS tenant_id) AS t",
    "SELECT kernel.mint_seal('s', NULL, gen_random_uuid(), gen_random_uuid())",
    "SELECT kernel.authentic('x')",
    "SELECT * FROM kernel.tasks",
    "UPDATE kernel.tasks SET closed_at = NULL",
    "SELECT kernel.sign('g|x')",
    "SELECT kernel.mac('k1', 'g|x')",
    "SELECT kernel.verify('x')",
    "SELECT tenancy.set_operator_key('op_x', 'y')",
    "SELECT * FROM kernel.proof_keys",
    "SELECT * FROM tenancy.operator_keys",
    "SELECT secret_hash FROM tenancy.api_keys",
    "SELECT rolpassword FROM pg_authid",
    "SET ROLE kernel_prover",
    "SET ROLE kernel_owner",
    "SET ROLE tenancy_authenticator",
    "SET ROLE gateway_owner",
    "SET SESSION AUTHORIZATION gateway_owner",
    "SET session_replication_role = replica",
    "CREATE TABLE public.t (x int)",
    "CREATE TABLE kernel.t (x int)",
    "CREATE FUNCTION kernel.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'",
    "CREATE VIEW mine AS SELECT * FROM outbox",
    "ALTER TABLE outbox NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY tenant ON outbox",
    "TRUNCATE outbox",
    "TRUNCATE inbox",
    "TRUNCATE dead_letters",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
]


@pytest.mark.parametrize("login", [*APP_LOGINS, *RELAY_LOGINS])
def test_a_login_cannot_make_a_proof_or_become_somebody_else(world, login):
    with world.session(login, world.a.grant()) as connection:
        assert [statement for statement in FORBIDDEN if not is_refused(connection, statement)] == []


def is_refused(connection, statement):
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


@pytest.mark.parametrize("login", APP_LOGINS)
def test_row_security_cannot_be_switched_off(world, login):
    with world.session(login, world.a.grant()) as connection:
        connection.execute("SET LOCAL row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("SELECT tenant_id FROM outbox")


@pytest.mark.parametrize("login", APP_LOGINS)
def test_an_unproven_message_is_buried_where_no_tenant_sees_it(world, login):
    columns = "tenant_id, message_id, consumer, type, subject, headers, body, reason, error, deliveries, trace_id"
    values = "gen_random_uuid(), 'c', 't', 's', '{}', '', 'r', 'e', 1, ''"
    with world.session(login, None) as connection:
        connection.execute(f"INSERT INTO dead_letters ({columns}) VALUES ('{UUID(int=0)}', {values})")
        connection.execute("SELECT kernel.open_session(%s)", (world.a.grant(),))
        assert connection.execute("SELECT DISTINCT tenant_id FROM dead_letters").fetchall() == [(world.a.tenant_id,)]


def of_both(world, name):
    return world.counts(world.a)[name] + world.counts(world.b)[name]


SENDER = "gateway_sender"
DELIVERED = ("gateway.webhook_endpoints", "gateway.webhook_deliveries", "gateway.data_keys")


def test_the_sender_reads_what_it_delivers_and_no_other_table(world):
    with world.session(SENDER, None) as connection:
        seen = [connection.execute(f"SELECT count(tenant_id) FROM {name}").fetchone() for name in DELIVERED]
    assert seen == [(of_both(world, name),) for name in DELIVERED]
    others = tuple(table for table in world.tables if str(table) not in DELIVERED)
    assert len(others) > 30
    assert_no_row_at_all(world, SENDER, world.a.grant(), others)


def test_the_sender_marks_what_came_of_a_delivery_and_changes_nothing_else(world):
    endpoints, deliveries, keys = (world.access(SENDER, world.table(name)) for name in DELIVERED)
    assert endpoints.update == {"state", "disabled_reason", "consecutive_failures", "failing_since"}
    assert deliveries.update == {
        *("state", "attempts", "claim_id", "due_at", "ended_at"),
        *("response_status", "response_body", "error"),
    }
    assert keys.update == frozenset()
    assert endpoints.insert | deliveries.insert | keys.insert == frozenset()


@pytest.mark.parametrize("table", DELIVERED)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET tenant_id = tenant_id"])
def test_the_sender_neither_removes_nor_moves_a_row(world, table, statement):
    with world.session(SENDER, world.a.grant()) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.format(table))


@pytest.mark.parametrize("function", ["kernel.open_session('x')", "kernel.tenant_id()", "tenancy.authenticate('x')"])
def test_the_sender_opens_no_session(world, function):
    with world.session(SENDER, None) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT {function}")


@pytest.mark.parametrize("login", RELAY_LOGINS)
def test_a_relay_reads_its_own_outbox_and_no_other_table(world, login):
    own = world.table(f"{login.removesuffix('_relay')}.outbox")
    with world.session(login, world.a.grant()) as connection:
        seen = connection.execute(f"SELECT count(*) FROM {own}").fetchone()
    assert seen == (of_both(world, str(own)),)
    others = tuple(table for table in world.tables if table is not own)
    assert_no_row_at_all(world, login, world.a.grant(), others)


@pytest.mark.parametrize("login", RELAY_LOGINS)
def test_a_relay_marks_rows_and_changes_nothing_else_of_them(world, login):
    own = world.table(f"{login.removesuffix('_relay')}.outbox")
    access = world.access(login, own)
    assert (access.update, access.insert) == ({"published_at"}, frozenset())
    with world.session(login, None) as connection:
        assert connection.execute("UPDATE outbox SET published_at = now()").rowcount == of_both(world, str(own))
    with world.session(login, None) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE outbox SET tenant_id = %s", (world.b.tenant_id,))
    with world.session(login, None) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM outbox")
