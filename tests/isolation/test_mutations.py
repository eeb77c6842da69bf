"""The isolation tests themselves are tested: each protection is taken away, and the assertion that it serves must fail.

The audit is not asked here. A mutant is killed only by a leak that the named assertion reports. The protections that
the catalogue names are taken away in test_catalogue_mutations.py.
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
from tests.isolation.mutants import VERIFIER_SAYS_YES
from tests.isolation.proofs import flip_last_digit

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
    return world.expired(world.a)


def test_the_control_without_a_mutation_is_green(weakened):
    assert_no_row_of_another_tenant(weakened, LOGIN)
    assert_no_row_at_all(weakened, LOGIN, forged(weakened))
    assert_no_row_at_all(weakened, LOGIN, expired(weakened))
    assert_no_row_at_all(weakened, LOGIN, None)


@pytest.mark.usefixtures("mutant")
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
def test_a_lost_protection_is_noticed(weakened, mutation, killed_by):
    weakened.database.execute(mutation)
    assert leaks_of_another_tenant(weakened) >= killed_by


@pytest.mark.usefixtures("mutant")
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
def test_a_lost_protection_is_noticed_without_a_valid_proof(weakened, mutation, proof, killed_by):
    invalid = proof(weakened)
    weakened.database.execute(mutation)
    assert leaks_without_proof(weakened, invalid) >= killed_by


@pytest.fixture
def bypassing_login(weakened):
    """Roles belong to the whole server, so this one is put right again."""
    weakened.database.execute(f"ALTER ROLE {LOGIN} BYPASSRLS")
    yield weakened
    weakened.database.execute(f"ALTER ROLE {LOGIN} NOBYPASSRLS")


@pytest.mark.usefixtures("mutant")
def test_a_login_that_bypasses_row_level_security_is_noticed(bypassing_login):
    assert leaks_of_another_tenant(bypassing_login) >= {"select", "update", "insert", "move"}


def test_a_superuser_login_is_refused_by_the_tests_themselves(weakened):
    weakened.database.execute(f"ALTER ROLE {LOGIN} SUPERUSER")
    try:
        with pytest.raises(AssertionError):
            assert_no_row_of_another_tenant(weakened, LOGIN)
    finally:
        weakened.database.execute(f"ALTER ROLE {LOGIN} NOSUPERUSER")


@pytest.mark.usefixtures("mutant")
def test_an_immutable_tenant_is_noticed(weakened):
    weakened.database.execute("ALTER FUNCTION kernel.tenant_id() IMMUTABLE")
    a, b = weakened.a.tenant_id, weakened.b.tenant_id
    assert tenants_of_one_prepared_statement(weakened) != [[a], [b], [a]]


@pytest.mark.usefixtures("mutant")
def test_an_inbox_that_takes_any_message_is_noticed(sealed):
    world, _, _, seal = sealed
    world.database.execute(f"ALTER POLICY tenant ON docs.inbox WITH CHECK ({OWN})")
    assert inbox_takes(world, seal, uuid4())


@pytest.mark.usefixtures("mutant")
def test_an_outbox_that_does_not_look_at_the_task_is_noticed(sealed):
    world, _, _, seal = sealed
    world.database.execute("DROP TRIGGER seal ON docs.outbox")
    assert outbox_takes(world, seal, world.a.open_task(uuid4()))


@pytest.mark.usefixtures("mutant")
def test_a_seal_that_outlives_its_task_is_noticed(sealed):
    world, _, task_id, seal = sealed
    end_task(world, task_id, "11 minutes")
    assert not opens(world, seal)
    world.database.execute(SEALS_NEVER_END)
    assert opens(world, seal)


@pytest.mark.usefixtures("mutant")
def test_a_retired_key_that_still_verifies_is_noticed(sealed):
    world, _, _, seal = sealed
    world.database.execute("UPDATE kernel.proof_keys SET minting = false, retired_at = now()")
    assert not opens(world, seal)
    world.database.execute(RETIRED_KEYS_VERIFY)
    assert opens(world, seal)


@pytest.mark.usefixtures("mutant")
def test_a_service_that_opens_a_task_of_its_own_is_noticed(weakened):
    grant = weakened.a.grant()
    assert not outbox_takes(weakened, grant, uuid4())
    weakened.database.execute("DROP TRIGGER seal ON docs.outbox")
    assert outbox_takes(weakened, grant, uuid4())
