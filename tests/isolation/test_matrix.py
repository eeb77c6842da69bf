"""Every table and view, every operation, every kind of proof, as every service's login: no row crosses.

Tables, columns, keys, views and privileges come from the catalogue, so what a migration adds is held to this at once.
Every table holds rows of two tenants. A refusal is one of PostgreSQL's for lack of privilege, of a foreign key, or no
row; whatever else stops an attempt fails the test. The owner of a row succeeds in the same attempts.
"""

from __future__ import annotations

import pytest

from tests.isolation.attempts import attempts_on
from tests.isolation.checks import try_tables
from tests.isolation.proofs import PROOFS, aim_of_owner, aim_with
from tests.isolation.tables import APP_LOGINS

OPERATIONS = {
    *("select", "copy to", "temporary view", "update through a temporary view", "update", "merge into a row", "move"),
    *("delete", "insert", "upsert", "merge of a new row", "copy from", "foreign key"),
}


def test_both_tenants_have_rows_in_every_table(world):
    assert len(world.tables) > 50
    assert min(world.counts(world.a).values()) > 0
    assert min(world.counts(world.b).values()) > 0


@pytest.mark.parametrize("kind", PROOFS)
@pytest.mark.parametrize("login", APP_LOGINS)
def test_no_row_of_another_tenant_is_seen_changed_or_made(world, login, kind, tried):
    before = world.rows()
    with world.session(login, PROOFS[kind](world)) as connection:
        trial = try_tables(world, connection, login, aim_with(world, kind))
        trial.assert_nothing_leaked(login)
        connection.commit()
    tried("rows", trial.tried)
    assert world.rows() == before


@pytest.mark.parametrize("login", APP_LOGINS)
def test_the_owner_of_a_row_succeeds_in_all_that_its_login_is_permitted(world, login):
    """With a seal or with a grant: the inbox wants the one, a message of another task the other."""
    reached, permitted = set(), set()
    for proof in (world.seal(world.b), world.b.grant()):
        with world.session(login, proof) as connection:
            trial = try_tables(world, connection, login, aim_of_owner(world))
        assert trial.not_tried == []
        reached |= trial.reached
        permitted |= trial.permitted
    assert reached == permitted


def test_every_operation_is_tried_and_permitted_of_an_owner_somewhere(world):
    """But for COPY FROM, which policies exclude, and temporary views, which no login may make."""
    attempts = [
        attempt
        for login in APP_LOGINS
        for table in world.tables
        for attempt in attempts_on(world, table, world.access(login, table), aim_of_owner(world))
    ]
    assert {named(attempt) for attempt in attempts} == OPERATIONS
    assert {named(attempt) for attempt in attempts if attempt.permitted} == OPERATIONS - {
        *("copy from", "temporary view", "update through a temporary view")
    }


def named(attempt):
    return "foreign key" if attempt.operation.startswith("foreign key") else attempt.operation
