"""What PostgreSQL itself holds callers to, whatever tenancy's own checks do."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from services.tenancy.domain.principals import SCOPES

CREATE = "SELECT tenancy.create_api_key(%s, 'secret', 'a key', %s, NULL)"


@contextmanager
def session(tenant, login="tenancy_app", proof=None):
    with psycopg.connect(tenant.database.dsn(login)) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (proof or tenant.grant(),))
        yield connection


def narrowed(tenant, *scopes):
    """The tenant, whose key holds these scopes alone."""
    literal, key_id = ",".join(scopes), tenant.api_key.partition(".")[0]
    tenant.database.execute(f"UPDATE tenancy.api_keys SET scopes = '{{{literal}}}' WHERE key_id = '{key_id}'")
    return tenant


@pytest.mark.parametrize("role", SCOPES)
def test_the_roles_scopes_are_the_same_in_sql(database, role):
    assert sorted(database.rows("SELECT tenancy.scopes_of_role(%s)", role)[0][0]) == sorted(SCOPES[role])


def test_a_role_that_does_not_exist_has_no_scopes(database):
    assert database.rows("SELECT tenancy.scopes_of_role('root')") == [(None,)]


def test_a_key_is_not_made_with_more_than_the_session_holds(tenant):
    with session(narrowed(tenant, "keys.write", "tasks.read")) as connection:
        connection.execute(CREATE, ("mk_1", ["tasks.read"]))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="more than its creator"):
            connection.execute(CREATE, ("mk_2", ["tasks.read", "operator"]))


@pytest.mark.parametrize(
    "call",
    [
        "SELECT tenancy.create_api_key('mk_1', 's', 'd', '{}', NULL)",
        "SELECT tenancy.rotate_api_key('mk_1', 's', '1 hour')",
        "SELECT tenancy.revoke_api_key('mk_1')",
    ],
)
def test_without_the_scope_no_key_is_administered(tenant, call):
    with (
        session(narrowed(tenant, "keys.read", "tasks.read")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"keys\.write"),
    ):
        connection.execute(call)


def test_a_seal_administers_nothing(tenant):
    task_id = uuid4()
    with session(tenant, "gateway_app") as connection:
        connection.execute(
            "INSERT INTO outbox (task_id, type, subject, body, traceparent, due_at)"
            " VALUES (%s, 't', 's', '', '', 'infinity')",
            (task_id,),
        )
    seal = tenant.database.rows("SELECT seal FROM gateway.outbox WHERE task_id = %s", task_id)[0][0]
    with session(tenant, proof=seal) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(CREATE, ("mk_1", ["tasks.read"]))


@pytest.mark.parametrize("login", ["gateway_app", "docs_app", "orchestrator_app", "faqgen_app", "codegen_app"])
def test_other_services_administer_no_key(tenant, login):
    with session(tenant, login) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(CREATE, ("mk_1", ["tasks.read"]))


def test_a_key_of_another_tenant_is_neither_rotated_nor_revoked(database, tenant):
    other = database.create_tenant("other")
    key_id = other.api_key.partition(".")[0]
    with session(tenant) as connection:
        rotated = connection.execute("SELECT tenancy.rotate_api_key(%s, 's', '0')", (key_id,)).fetchone()
        connection.execute("SELECT tenancy.revoke_api_key(%s)", (key_id,))
    assert rotated == (False,)
    assert other.grant() != "None"


def test_a_key_that_may_do_more_than_the_session_is_not_rotated(tenant):
    with session(tenant) as connection:
        connection.execute(CREATE, ("mk_strong", ["tasks.read", "sources.read"]))
        connection.execute(CREATE, ("mk_weak", ["tasks.read"]))
    rotate = "SELECT tenancy.rotate_api_key(%s, 's', '0')"
    with session(narrowed(tenant, "keys.write", "tasks.read")) as connection:
        assert connection.execute(rotate, ("mk_strong",)).fetchone() == (False,)
        assert connection.execute(rotate, ("mk_weak",)).fetchone() == (True,)


def test_a_grant_does_not_outlive_its_key(tenant):
    tenant.database.execute("UPDATE tenancy.api_keys SET expires_at = now() + interval '10 seconds'")
    expiry = int(tenant.grant().split("|")[5])
    assert expiry <= datetime.now(UTC).timestamp() + 11  # whole seconds


def note(database, key_id, at):
    with psycopg.connect(database.dsn("gateway_app")) as connection:
        connection.execute("SELECT tenancy.note_key_uses(%s, %s)", ([key_id], [at]))


def writes(database):
    """The row's version changes with each write."""
    return database.rows("SELECT xmin::text, last_used_at FROM tenancy.api_keys")[0]


def test_uses_within_a_minute_are_one_write(database, tenant):
    key_id, now = tenant.api_key.partition(".")[0], datetime.now(UTC)
    note(database, key_id, now - timedelta(seconds=90))
    first = writes(database)
    note(database, key_id, now - timedelta(seconds=40))
    assert writes(database) == first
    note(database, key_id, now)
    assert writes(database)[0] != first[0]
    assert writes(database)[1] == now


def test_a_use_in_the_future_is_one_of_now(database, tenant):
    note(database, tenant.api_key.partition(".")[0], datetime.now(UTC) + timedelta(days=1))
    assert writes(database)[1] <= datetime.now(UTC)


def test_noting_a_use_does_not_wait_for_a_key_that_is_being_changed_nor_does_authentication(database, tenant):
    with psycopg.connect(database.admin_dsn) as changing:
        changing.execute("UPDATE tenancy.api_keys SET display_name = 'changing'")
        with psycopg.connect(database.dsn("gateway_app")) as connection:
            connection.execute("SET statement_timeout = '2s'")
            connection.execute("SELECT tenancy.note_key_uses(%s, %s)", ([tenant.api_key[:19]], [datetime.now(UTC)]))
            assert connection.execute("SELECT tenancy.authenticate(%s)", (tenant.api_key,)).fetchone() != (None,)


def test_what_every_service_records_is_an_entry_of_the_session_s_tenant(database, tenant):
    with session(tenant, "docs_app") as connection:
        connection.execute("SELECT set_config('morningai.trace_id', %s, true)", ("a" * 32,))
        connection.execute("SELECT tenancy.record('tests.done', 'documents/1', %s)", ('{"x": 1}',))
    columns = "tenant_id, principal, resource, details, trace_id, outcome"
    query = f"SELECT {columns} FROM tenancy.audit_log WHERE action = 'tests.done'"
    key_id = tenant.api_key.partition(".")[0]
    assert database.rows(query) == [(tenant.tenant_id, f"key:{key_id}", "documents/1", {"x": 1}, "a" * 32, "succeeded")]


def test_nothing_is_recorded_without_a_session(database):
    with (
        psycopg.connect(database.dsn("docs_app")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="no verified session"),
    ):
        connection.execute("SELECT tenancy.record('tests.done', 'documents/1')")


def test_no_service_records_in_the_name_of_another(tenant):
    with session(tenant) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT tenancy.record_in(gen_random_uuid(), 'key:x', 'tests.done', '', '{}', 'succeeded')")


REFUSAL = "SELECT tenancy.record_refusal(%s, 'keys.create', '', '{}', '')"


def test_of_refused_calls_at_once_as_many_as_the_limit_says_are_recorded(database, tenant):
    proof, together, recorded = tenant.grant(), threading.Barrier(4), []

    def refuse():
        with psycopg.connect(database.dsn("tenancy_app"), autocommit=True) as connection:
            together.wait()
            recorded.extend(connection.execute(REFUSAL, (proof,)).fetchone()[0] for _ in range(15))

    threads = [threading.Thread(target=refuse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = database.rows("SELECT count(*) FROM tenancy.audit_log WHERE outcome = 'refused'")
    assert written == [(recorded.count(True),)]
    assert 20 <= recorded.count(True) <= 22


def test_a_proof_that_is_not_valid_leaves_no_entry(database, tenant):
    with psycopg.connect(database.dsn("gateway_app"), autocommit=True) as connection:
        for proof in ("", "garbage", tenant.grant()[:-1] + "!"):
            assert connection.execute(REFUSAL, (proof,)).fetchone() == (False,)
    assert database.rows("SELECT count(*) FROM tenancy.audit_log WHERE outcome = 'refused'") == [(0,)]


@pytest.mark.parametrize("login", ["faqgen_app", "codegen_app"])
def test_services_that_administer_nothing_record_no_refusal(tenant, login):
    with session(tenant, login) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(REFUSAL, (tenant.grant(),))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenancy.operator_log SET principal = 'operator:x'",
        "DELETE FROM tenancy.operator_log",
        "TRUNCATE tenancy.operator_log",
        "UPDATE tenancy.audit_log SET principal = 'key:x'",
        "DELETE FROM tenancy.audit_log",
        "TRUNCATE tenancy.audit_log",
        "SET session_replication_role = replica; DELETE FROM tenancy.audit_log",
    ],
)
def test_not_even_the_superuser_changes_the_log(database, tenant, statement):
    before = database.rows("SELECT count(*) FROM tenancy.audit_log")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        database.execute(statement)
    assert database.rows("SELECT count(*) FROM tenancy.audit_log") == before


@pytest.mark.parametrize(
    "call",
    [
        "SELECT tenancy.suspend_tenant(%s)",
        "SELECT tenancy.resume_tenant(%s)",
        "SELECT * FROM tenancy.tenants_of_operator(%s, '', 10)",
        "SELECT * FROM tenancy.operator_entries(now(), %s, 10)",
    ],
)
def test_a_tenant_does_not_do_what_an_operator_does(tenant, call):
    with session(tenant) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege, match="operator"):
        connection.execute(call, (tenant.tenant_id,))
