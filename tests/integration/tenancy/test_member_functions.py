"""What PostgreSQL itself holds members and principals to, whatever tenancy's own checks do."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.integration.tenancy.test_key_functions import narrowed, session

EXCHANGE = "SELECT slug, minted FROM tenancy.exchange_identity('i', %s, '', '', %s, %s)"


def add_member(tenant, role, subject=""):
    """As the superuser; returns the id."""
    query = (
        "INSERT INTO tenancy.members (tenant_id, issuer, subject, email, display_name, role)"
        " VALUES (%s, 'i', %s, '', '', %s) RETURNING member_id"
    )
    return tenant.database.rows(query, tenant.tenant_id, subject or uuid4().hex, role)[0][0]


def roles(tenant):
    query = "SELECT role FROM tenancy.members WHERE tenant_id = %s ORDER BY role"
    return [role for (role,) in tenant.database.rows(query, tenant.tenant_id)]


def member_grant(tenant, subject, slug=None, lifetime="5 minutes"):
    with psycopg.connect(tenant.database.dsn("tenancy_app")) as connection:
        return connection.execute(EXCHANGE, (subject, slug, lifetime)).fetchall()


@pytest.mark.parametrize("changes", [("viewer", "viewer"), (None, None), (None, "admin")])
def test_of_two_who_take_away_the_last_two_owners_one_is_refused(tenant, changes):
    owners = [add_member(tenant, "owner") for _ in range(2)]
    together, refused = threading.Barrier(2), []

    def change(member_id, role):
        with session(tenant) as connection:
            together.wait()
            try:
                connection.execute("SELECT tenancy.change_member(%s, %s)", (member_id, role))
                connection.execute("SELECT pg_sleep(0.3)")
            except psycopg.errors.RestrictViolation:
                refused.append(member_id)
                connection.rollback()

    threads = [threading.Thread(target=change, args=pair) for pair in zip(owners, changes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert roles(tenant).count("owner") == 1


def test_the_last_owner_may_be_kept_as_one(tenant):
    member_id = add_member(tenant, "owner")
    with session(tenant) as connection:
        changed = connection.execute("SELECT tenancy.change_member(%s, 'owner')", (member_id,)).fetchone()
    assert (changed, roles(tenant)) == ((True,), ["owner"])


@pytest.mark.parametrize("role", ["owner", "root", None])
def test_nobody_invites_above_themselves(tenant, role):
    admin = narrowed(tenant, *tenant.database.rows("SELECT tenancy.scopes_of_role('admin')")[0][0])
    with session(admin) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege, match="above their own"):
        connection.execute("SELECT tenancy.invite_member('mi_1', 's', '', %s, now() + interval '1 day')", (role,))


GONE = {
    "removed": "DELETE FROM tenancy.members WHERE subject = 'mallory'",
    "demoted": "UPDATE tenancy.members SET role = 'viewer' WHERE subject = 'mallory'",
}


@pytest.mark.parametrize("change", [None, *GONE])
def test_an_invitation_is_good_while_whoever_made_it_could_make_it(database, tenant, change):
    add_member(tenant, "owner", "mallory")
    [(_, grant)] = member_grant(tenant, "mallory")
    with session(tenant, proof=grant) as connection:
        connection.execute("SELECT tenancy.invite_member('mi_1', 's', '', 'owner', now() + interval '1 day')")
    if change:
        database.execute(GONE[change])
    with psycopg.connect(database.dsn("tenancy_app")) as connection:
        proof = connection.execute("SELECT tenancy.prove_identity('i', 'm2', '', '', '1 minute')").fetchone()[0]
    with session(tenant, proof=proof) as connection:
        accepted = connection.execute("SELECT role FROM tenancy.accept_invitation('mi_1.s')").fetchall()
    assert accepted == ([] if change else [("owner",)])


def test_an_invitation_is_revoked_or_accepted_and_never_both(database, tenant):
    with session(tenant) as connection:
        connection.execute("SELECT tenancy.invite_member('mi_1', 's', '', 'viewer', now() + interval '1 day')")
    with psycopg.connect(database.dsn("tenancy_app")) as connection:
        proof = connection.execute("SELECT tenancy.prove_identity('i', 'm', '', '', '1 minute')").fetchone()[0]
    accepted = []

    def accept():
        with session(tenant, proof=proof) as connection:
            accepted.extend(connection.execute("SELECT role FROM tenancy.accept_invitation('mi_1.s')").fetchall())

    accepting = threading.Thread(target=accept)
    with session(tenant) as connection:
        connection.execute("SELECT tenancy.revoke_invitation('mi_1')")
        accepting.start()
        connection.execute("SELECT pg_sleep(0.3)")
    accepting.join()
    assert (accepted, roles(tenant)) == ([], [])


@pytest.mark.parametrize(
    ("old", "new"), [("owner", "viewer"), ("owner", None), ("viewer", "owner"), ("viewer", "root")]
)
def test_nobody_changes_a_role_above_their_own(tenant, old, new):
    member_id = add_member(tenant, old)
    add_member(tenant, "owner")
    admin = narrowed(tenant, *tenant.database.rows("SELECT tenancy.scopes_of_role('admin')")[0][0])
    with session(admin) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege, match="above their own"):
        connection.execute("SELECT tenancy.change_member(%s, %s)", (member_id, new))


def test_members_of_another_tenant_are_not_changed(database, tenant):
    member_id = add_member(database.create_tenant("other"), "viewer")
    with session(tenant) as connection:
        assert connection.execute("SELECT tenancy.change_member(%s, NULL)", (member_id,)).fetchone() == (False,)


@pytest.mark.parametrize("login", ["gateway_app", "docs_app", "orchestrator_app", "faqgen_app", "codegen_app"])
@pytest.mark.parametrize(
    "call",
    [
        "SELECT tenancy.exchange_identity('i', 's', '', '', NULL, '1 minute')",
        "SELECT tenancy.prove_identity('i', 's', '', '', '1 minute')",
        "SELECT tenancy.accept_invitation('mi_1.s')",
        "SELECT tenancy.invite_member('mi_1', 's', '', 'viewer', now())",
        "SELECT tenancy.change_member(gen_random_uuid(), NULL)",
        "SELECT tenancy.revoke_invitation('mi_1')",
    ],
)
def test_other_services_mint_no_member_s_grant_and_change_no_member(tenant, login, call):
    with session(tenant, login) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(call)


def test_a_member_s_grant_is_of_the_tenant_the_member_and_the_role(tenant):
    member_id = add_member(tenant, "viewer", "ada")
    [(slug, grant)] = member_grant(tenant, "ada")
    parts = grant.split("|")
    assert (slug, parts[2], parts[3]) == ("acme", str(tenant.tenant_id), f"user:{member_id}")
    assert "tasks.read" in parts[4].split(",")
    assert "tasks.write" not in parts[4].split(",")


def test_a_stranger_gets_no_grant_and_a_member_of_two_tenants_none_until_one_is_named(database, tenant):
    other = database.create_tenant("other")
    for one in (tenant, other):
        add_member(one, "viewer", "ada")
    assert member_grant(tenant, "eve") == []
    assert member_grant(tenant, "ada") == [("acme", None), ("other", None)]
    assert [slug for slug, grant in member_grant(tenant, "ada", "other") if grant] == ["other"]


def test_an_identity_s_grant_sees_no_row(database, tenant):
    with psycopg.connect(database.dsn("tenancy_app")) as connection:
        query = "SELECT tenancy.prove_identity('i', 's', '', '', '1 minute')"
        grant = connection.execute(query).fetchone()[0]
        connection.execute("SELECT kernel.open_session(%s)", (grant,))
        proof = connection.execute("SELECT (p).tenant_id, (p).scopes FROM kernel.current_proof() AS p")
        assert proof.fetchone() == (UUID(int=2**128 - 1), ["invitations.accept"])
        for table in ("tenants", "api_keys", "members", "invitations", "audit_log", "dead_letters"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


MAY = "SELECT tenancy.principal_may(%s)"


def may(tenant, scope, proof=None, login="docs_app"):
    with session(tenant, login, proof) as connection:
        return connection.execute(MAY, (scope,)).fetchone()[0]


def seal_of(tenant, proof):
    task_id = uuid4()
    columns = "task_id, type, subject, body, traceparent, due_at"
    with session(tenant, "gateway_app", proof) as connection:
        connection.execute(f"INSERT INTO outbox ({columns}) VALUES (%s, 't', 's', '', '', 'infinity')", (task_id,))
    return tenant.database.rows("SELECT seal FROM gateway.outbox WHERE task_id = %s", task_id)[0][0]


NO_LONGER = {
    "revoked": "UPDATE tenancy.api_keys SET revoked_at = now()",
    "expired": "UPDATE tenancy.api_keys SET expires_at = now()",
    "without the scope": "UPDATE tenancy.api_keys SET scopes = '{tasks.read}'",
    "of a suspended tenant": "UPDATE tenancy.tenants SET state = 'suspended'",
    "gone": "DELETE FROM tenancy.api_keys",
}


@pytest.mark.parametrize("kind", NO_LONGER)
def test_a_key_s_message_no_longer_may_once_the_key_is(tenant, kind):
    seal = seal_of(tenant, tenant.grant())
    assert may(tenant, "tasks.write", seal)
    assert not may(tenant, "operator", seal)
    tenant.database.execute(NO_LONGER[kind])
    assert not may(tenant, "tasks.write", seal)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM tenancy.members",
        "UPDATE tenancy.members SET role = 'viewer'",
        "UPDATE tenancy.tenants SET state = 'suspended'",
    ],
)
def test_a_member_s_message_no_longer_may_once_the_member_does_not(tenant, change):
    add_member(tenant, "member", "ada")
    seal = seal_of(tenant, member_grant(tenant, "ada")[0][1])
    assert may(tenant, "tasks.write", seal)
    tenant.database.execute(change)
    assert not may(tenant, "tasks.write", seal)


def test_without_a_session_nobody_may(database):
    with psycopg.connect(database.dsn("docs_app")) as connection:
        assert connection.execute(MAY, ("tasks.write",)).fetchone() == (False,)
