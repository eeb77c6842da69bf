"""Every protection that the catalogue names is taken away, one at a time, and test_matrix.py's assertions must notice.

The audit is not asked here. A mutant is killed only by the crossing that it makes possible, reported by name.
"""

from __future__ import annotations

import pytest

from tests.isolation import mutants as made
from tests.isolation.checks import try_functions, try_tables
from tests.isolation.proofs import PROOFS, aim_with
from tests.isolation.tables import APP_LOGINS

KINDS = {
    "a policy that shows all": made.policies_that_show_all,
    "a policy that takes all": made.policies_that_take_all,
    "row level security disabled": made.tables_without_security,
    "a plain view": made.plain_views,
    "a verifier that says yes": made.verifiers_that_say_yes,
    "a login that owns the tables": made.logins_that_own,
    "a login that bypasses row level security": made.logins_that_bypass,
    "a foreign key without its tenant": made.foreign_keys_without_tenant,
    "a function without its tenant filter": made.functions_without_filter,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutant_is_killed(world, kind, killed):
    mutants = list(KINDS[kind](world))
    killed(mutants, [mutant for mutant in mutants if made.is_killed(world, mutant)])


@pytest.mark.parametrize("login", APP_LOGINS)
@pytest.mark.parametrize("kind", ["a seal of my own", "expired", "forged"])
def test_the_control_without_a_mutation_is_green(world, login, kind):
    with world.acting(login, PROOFS[kind](world)) as connection:
        try_tables(world, connection, login, aim_with(world, kind)).assert_nothing_leaked(login)


@pytest.mark.parametrize("login", APP_LOGINS)
def test_the_control_of_the_functions_is_green(world, login):
    with world.acting(login, world.a.grant()) as connection:
        try_functions(world, connection, aim_with(world, "a grant of my own")).assert_nothing_leaked(login)


def test_the_control_of_the_foreign_keys_is_green(world):
    """Parents that are gone, and nothing more, let nobody point at another tenant's."""
    for mutant in made.foreign_keys_without_tenant(world):
        with world.acting(mutant.login, world.seal(world.a), mutant.statements[:1]) as connection:
            aim = aim_with(world, "a seal of my own")
            operations = {operation for _, operation in mutant.killed_by}
            trial = try_tables(world, connection, mutant.login, aim, tables=mutant.tables, operations=operations)
        trial.assert_nothing_leaked(mutant.login)
        assert trial.tried == 1


def test_every_table_that_a_login_reads_has_its_mutants(world):
    readable = {str(table) for table in world.tables if any(world.access(login, table).select for login in APP_LOGINS)}
    assert readable == {str(table) for table in world.tables} - {"kernel.tasks"}
    for kind in ("a policy that shows all", "row level security disabled", "a plain view"):
        assert {str(mutant.tables[0]) for mutant in KINDS[kind](world)} == readable
