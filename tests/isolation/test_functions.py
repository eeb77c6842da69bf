"""Every function that a service's login may execute, with what another tenant's rows are called: nothing is told or
changed that is not declared."""

from __future__ import annotations

from itertools import product

import pytest

from tests.isolation.attempts import NotTried
from tests.isolation.checks import try_functions
from tests.isolation.functions import DECLARED, effect_of, functions_of
from tests.isolation.proofs import PROOFS, aim_of_owner, aim_with
from tests.isolation.tables import APP_LOGINS

BUDGET = {"tenancy.record", "tenancy.reserve", "tenancy.mark_sent", "tenancy.release"}
WORKING = {
    "gateway_app": {"tenancy.record", "kernel.open_schedule", "kernel.close_schedule"},
    "orchestrator_app": {"tenancy.record", "kernel.close_task"},
    "docs_app": {*BUDGET, "docs.search_chunks"},
    "faqgen_app": BUDGET,
    "codegen_app": BUDGET,
    "tenancy_app": {
        *("tenancy.record", "tenancy.create_api_key", "tenancy.rotate_api_key", "tenancy.revoke_api_key"),
        *("tenancy.invite_member", "tenancy.change_member", "tenancy.set_own_limit"),
        "tenancy.drop_dead_letter",
    },
}


@pytest.mark.parametrize("kind", PROOFS)
@pytest.mark.parametrize("login", APP_LOGINS)
def test_no_function_tells_or_changes_anything_of_another_tenant(world, login, kind, tried):
    with world.acting(login, PROOFS[kind](world)) as connection:
        trial = try_functions(world, connection, aim_with(world, kind))
    trial.assert_nothing_leaked(login)
    tried("rows", trial.tried)


@pytest.mark.parametrize("login", APP_LOGINS)
def test_the_functions_work_for_the_owner_of_the_rows(world, login):
    with world.acting(login, world.b.grant()) as connection:
        working = {function.name for function in functions_of(connection) if works(world, connection, function)}
    assert working >= WORKING[login]


def works(world, connection, function):
    try:
        return bool(effect_of(world, connection, function, aim_of_owner(world))[1])
    except NotTried as error:
        # The owner has a row of this name already.
        return "duplicate key" in str(error)


def test_what_is_declared_is_all_that_is_done_to_other_tenants(world):
    found = {}
    for login, kind in product(APP_LOGINS, ("a grant of my own", "none")):
        with world.acting(login, PROOFS[kind](world)) as connection:
            for function in functions_of(connection):
                if function.name in DECLARED and not found.get(function.name):
                    found[function.name] = effect_of(world, connection, function, aim_with(world, kind))[1]
    assert found.keys() == DECLARED.keys()
    assert [effect for effect in found.values() if not (effect and effect.is_declared)] == []
