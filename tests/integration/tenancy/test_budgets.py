"""Budgets: reserved before a call, settled after it, exact at their edge for 200 calls at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest

from morningai.db.session import Database
from services.tenancy.workflow import sweep_reservations

SET = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}', {})"
RESERVE = "SELECT tenancy.reserve(%s, 'm', %s, %s, %s::interval)"
SPENT = """
SELECT reserved_tokens, spent_tokens, reserved_money, spent_money FROM tenancy.spending
WHERE tenant_id = %s AND period = %s
"""
CALLS = 200
CONNECTIONS = 25


@contextmanager
def session(tenant, login="faqgen_app"):
    with psycopg.connect(tenant.database.dsn(login)) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
        yield connection


def one(tenant, query, *parameters, login="faqgen_app"):
    with session(tenant, login) as connection:
        return connection.execute(query, parameters).fetchone()[0]


def reserve(tenant, call_id, *, prompt=60, completion=40, lifetime="1 minute"):
    return one(tenant, RESERVE, call_id, prompt, completion, lifetime)


def sweep(tenant, most=100):
    with psycopg.connect(tenant.database.dsn("tenancy_app")) as connection:
        return connection.execute("SELECT tenancy.sweep_reservations(%s)", (most,)).fetchone()[0]


def spent(tenant, period="day"):
    return tenant.database.rows(SPENT, tenant.tenant_id, period)[0]


def usage(tenant):
    query = "SELECT task_id, model, calls, calls_in_full, prompt_tokens, completion_tokens, money FROM tenancy.usage"
    return tenant.database.rows(query)


@pytest.fixture
def sent(tenant):
    """A call of which 100 tokens are reserved, on its way."""
    call_id = uuid4()
    assert reserve(tenant, call_id) is None
    assert one(tenant, "SELECT tenancy.mark_sent(%s)", call_id) is True
    return call_id


@pytest.mark.parametrize("budget", ["tokens_per_day", "tokens_per_month", "money_per_day", "money_per_month"])
def test_200_calls_at_once_at_the_edge_of_a_budget_overspend_by_nothing(database, tenant, budget):
    database.execute("INSERT INTO tenancy.model_prices VALUES ('m', 1000000, 1000000)")
    database.execute(SET.format(tenant.tenant_id, budget, 5_050))
    grant = tenant.grant()

    def calls(count):
        with psycopg.connect(database.dsn("faqgen_app")) as connection:
            return [call(connection) for _ in range(count)]

    def call(connection):
        with connection.transaction():
            connection.execute("SELECT kernel.open_session(%s)", (grant,))
            return connection.execute(RESERVE, (uuid4(), 60, 40, "1 minute")).fetchone()[0]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = [one for some in pool.map(calls, [CALLS // CONNECTIONS] * CONNECTIONS) for one in some]
    assert (results.count(None), results.count(budget)) == (50, 150)
    assert spent(tenant) == (5_000, 0, 5_000, 0)
    assert spent(tenant, "month") == (5_000, 0, 5_000, 0)


def test_settling_charges_what_was_used_and_gives_the_rest_back(tenant, sent):
    assert spent(tenant) == (100, 0, 0, 0)
    assert one(tenant, "SELECT tenancy.settle(%s, 55, 7)", sent) is True
    assert spent(tenant) == spent(tenant, "month") == (0, 62, 0, 0)
    assert usage(tenant) == [(UUID(int=0), "m", 1, 0, 55, 7, 0)]


def test_a_call_whose_outcome_is_unknown_is_charged_in_full_and_counted_so(tenant, sent):
    assert one(tenant, "SELECT tenancy.settle(%s, NULL, NULL)", sent) is True
    assert spent(tenant) == (0, 100, 0, 0)
    assert usage(tenant) == [(UUID(int=0), "m", 1, 1, 60, 40, 0)]


def test_more_than_was_reserved_is_charged_too(tenant, sent):
    one(tenant, "SELECT tenancy.settle(%s, 100, 40)", sent)
    assert spent(tenant) == (0, 140, 0, 0)


def test_settling_twice_charges_once(tenant, sent):
    assert [one(tenant, "SELECT tenancy.settle(%s, 55, 7)", sent) for _ in range(3)] == [True, False, False]
    assert one(tenant, "SELECT tenancy.release(%s)", sent) is False
    assert spent(tenant) == (0, 62, 0, 0)


def test_a_released_call_costs_nothing_and_leaves_no_usage(tenant, sent):
    assert one(tenant, "SELECT tenancy.release(%s)", sent) is True
    assert (spent(tenant), usage(tenant)) == ((0, 0, 0, 0), [])
    assert one(tenant, "SELECT tenancy.settle(%s, 1, 1)", sent) is False


def test_reserving_a_call_twice_reserves_it_once(tenant):
    call_id = uuid4()
    assert [reserve(tenant, call_id) for _ in range(3)] == [None] * 3
    assert spent(tenant) == (100, 0, 0, 0)


def test_a_call_is_sent_once(tenant, sent):
    assert one(tenant, "SELECT tenancy.mark_sent(%s)", sent) is False


def test_a_call_that_was_not_reserved_is_neither_sent_nor_settled(tenant):
    assert one(tenant, "SELECT tenancy.mark_sent(%s)", uuid4()) is False
    assert one(tenant, "SELECT tenancy.settle(%s, 1, 1)", uuid4()) is False


def test_the_price_is_that_of_the_reservation_and_is_rounded_up(database, tenant):
    database.execute("INSERT INTO tenancy.model_prices VALUES ('m', 150000, 600000)")
    call_id = uuid4()
    reserve(tenant, call_id)
    database.execute("UPDATE tenancy.model_prices SET prompt_price = 9000000")
    one(tenant, "SELECT tenancy.mark_sent(%s)", call_id)
    assert spent(tenant) == (100, 0, 33, 0)
    one(tenant, "SELECT tenancy.settle(%s, 11, 1)", call_id)
    assert spent(tenant) == (0, 12, 0, 3)


def test_the_sweep_charges_what_was_sent_in_full_and_releases_what_was_not(tenant):
    lost, unsent = uuid4(), uuid4()
    for call_id in (lost, unsent):
        reserve(tenant, call_id, lifetime="-1 second")
    one(tenant, "SELECT tenancy.mark_sent(%s)", lost)
    assert (sweep(tenant), sweep(tenant)) == (2, 0)
    assert spent(tenant) == (0, 100, 0, 0)
    assert usage(tenant) == [(UUID(int=0), "m", 1, 1, 60, 40, 0)]
    assert one(tenant, "SELECT tenancy.settle(%s, 1, 1)", lost) is False


def test_the_sweep_leaves_what_may_still_be_answered(tenant, sent):
    assert sweep(tenant) == 0
    assert spent(tenant) == (100, 0, 0, 0)


def test_the_sweep_is_bounded_and_charges_each_tenant_its_own(database, tenant):
    other = database.create_tenant("other")
    for one_of_them in (tenant, other, other):
        reserve(one_of_them, call_id := uuid4(), lifetime="-1 second")
        one(one_of_them, "SELECT tenancy.mark_sent(%s)", call_id)
    assert [sweep(tenant, most=2), sweep(tenant, most=2)] == [2, 1]
    assert (spent(tenant), spent(other)) == ((0, 100, 0, 0), (0, 200, 0, 0))


def test_a_price_that_could_not_be_computed_with_is_not_kept(database):
    with pytest.raises(psycopg.errors.CheckViolation, match="model_prices_largest"):
        database.execute("INSERT INTO tenancy.model_prices VALUES ('m', 1000000000001, 0)")


async def test_the_sweep_of_two_days_waits_for_a_settlement_and_not_against_it(database, tenant, eventually):
    # Both want the rows of the second day and of the month, which a third connection holds until both wait.
    call_id = calls_of_two_days(tenant)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(database.admin_dsn) as connection:
            connection.execute("SELECT FROM tenancy.spending WHERE period = 'month' FOR UPDATE")
            sweeping = pool.submit(sweep, tenant)
            await eventually(lambda: database.rows(waiting) == [(1,)])
            settling = pool.submit(one, tenant, "SELECT tenancy.settle(%s, 55, 7)", call_id)
            await eventually(lambda: database.rows(waiting) == [(2,)])
        assert (sweeping.result(30), settling.result(30)) == (2, True)
    query = "SELECT period, reserved_tokens, spent_tokens FROM tenancy.spending ORDER BY period, starts_on"
    assert database.rows(query) == [("day", 0, 0), ("day", 0, 62), ("month", 0, 62)]


def calls_of_two_days(tenant):
    """An expired call on each of two days of a month, and one that was sent on the second: its id."""
    first, second, sent = uuid4(), uuid4(), uuid4()
    for call_id, lifetime in ((first, "-1 second"), (second, "-1 second"), (sent, "1 minute")):
        reserve(tenant, call_id, lifetime=lifetime)
    one(tenant, "SELECT tenancy.mark_sent(%s)", sent)
    database = tenant.database
    database.execute("UPDATE tenancy.spending SET starts_on = '2026-03-01'")
    database.execute("UPDATE tenancy.spending SET reserved_tokens = 100 WHERE period = 'day'")
    database.execute(
        "INSERT INTO tenancy.spending (tenant_id, period, starts_on, reserved_tokens) "
        f"VALUES ('{tenant.tenant_id}', 'day', '2026-03-02', 200)"
    )
    database.execute("UPDATE tenancy.reservations SET day = '2026-03-02'")
    database.execute(f"UPDATE tenancy.reservations SET day = '2026-03-01' WHERE call_id = '{first}'")
    return sent


def test_another_tenant_s_call_cannot_be_settled_or_released(database, tenant, sent):
    other = database.create_tenant("other")
    assert one(other, "SELECT tenancy.settle(%s, 1, 1)", sent) is False
    assert one(other, "SELECT tenancy.release(%s)", sent) is False
    assert spent(tenant) == (100, 0, 0, 0)


def test_the_tenant_s_own_budget_holds_below_the_operator_s_and_not_above(database, tenant):
    database.execute(SET.format(tenant.tenant_id, "tokens_per_day", 250))
    database.execute("UPDATE tenancy.limits SET tenant_value = 150")
    assert [reserve(tenant, uuid4()), reserve(tenant, uuid4())] == [None, "tokens_per_day"]
    database.execute("UPDATE tenancy.limits SET tenant_value = 1000000")
    assert [reserve(tenant, uuid4()), reserve(tenant, uuid4())] == [None, "tokens_per_day"]


@pytest.mark.parametrize("call", [RESERVE.replace("%s", "NULL"), "SELECT tenancy.mark_sent(NULL)"])
def test_without_a_proof_nothing_is_reserved(database, call):
    with (
        psycopg.connect(database.dsn("faqgen_app")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="no verified session"),
    ):
        connection.execute(call)


async def test_tenancy_sweeps_by_itself_and_goes_on_after_an_error(tenant, eventually):
    pool = FailingOnce(tenant.database.dsn("tenancy_app"))
    await pool.open()
    sweeping = asyncio.create_task(sweep_reservations(pool, every_seconds=0.05))
    for _ in range(2):
        reserve(tenant, call_id := uuid4(), lifetime="0 seconds")
        one(tenant, "SELECT tenancy.mark_sent(%s)", call_id)
        await eventually(lambda: spent(tenant)[0] == 0)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    await pool.close()
    assert (spent(tenant), pool.failed) == ((0, 200, 0, 0), True)


class FailingOnce(Database):
    failed = False

    async def decide(self, query, parameters):
        if not self.failed:
            self.failed = True
            raise psycopg.OperationalError
        return await super().decide(query, parameters)


POLICY = "INSERT INTO tenancy.approval_policies VALUES ('{}', false, {}, {}, false, 600)"
SEAL = "SELECT kernel.mint_seal('s', ('g', %s, 'key:mk_test', ARRAY['tasks.write'], NULL, NULL)::kernel.proof, %s, %s)"


@contextmanager
def task_session(tenant, task_id, login="faqgen_app"):
    seal = tenant.database.rows(SEAL, tenant.tenant_id, task_id, uuid4())[0][0]
    with psycopg.connect(tenant.database.dsn(login)) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (seal,))
        yield connection


def reserve_of(tenant, task_id):
    with task_session(tenant, task_id) as connection:
        return connection.execute(RESERVE, (uuid4(), 60, 40, "1 minute")).fetchone()[0]


@pytest.mark.parametrize(
    ("limits", "passed"), [(("150", "NULL"), "tokens_per_task"), (("NULL", "150"), "money_per_task")]
)
def test_a_task_asks_before_it_could_pass_its_limit_and_no_other_task_does(database, tenant, limits, passed):
    database.execute("INSERT INTO tenancy.model_prices VALUES ('m', 1000000, 1000000)")
    database.execute(POLICY.format(tenant.tenant_id, *limits))
    task_id, other = tenant.open_task(uuid4()), tenant.open_task(uuid4())
    assert [reserve_of(tenant, task_id), reserve_of(tenant, task_id)] == [None, passed]
    assert reserve_of(tenant, other) is None
    with task_session(tenant, task_id, "orchestrator_app") as connection:
        assert connection.execute("SELECT * FROM tenancy.task_spending(%s)", (task_id,)).fetchone() == (100, 100)
        connection.execute("SELECT tenancy.lift_task_limit()")
    assert [reserve_of(tenant, task_id), reserve_of(tenant, other)] == [None, passed]


def test_what_a_task_has_spent_counts_and_what_was_given_back_does_not(database, tenant):
    database.execute(POLICY.format(tenant.tenant_id, "150", "NULL"))
    task_id, spent_id, released_id = tenant.open_task(uuid4()), uuid4(), uuid4()
    with task_session(tenant, task_id) as connection:
        connection.execute(RESERVE, (released_id, 60, 40, "1 minute"))
        connection.execute("SELECT tenancy.release(%s)", (released_id,))
        connection.execute(RESERVE, (spent_id, 60, 40, "1 minute"))
        connection.execute("SELECT tenancy.mark_sent(%s), tenancy.settle(%s, 30, 21)", (spent_id, spent_id))
    assert reserve_of(tenant, task_id) == "tokens_per_task"


def test_calls_of_one_task_at_once_pass_its_limit_by_nothing(database, tenant):
    database.execute(POLICY.format(tenant.tenant_id, "550", "NULL"))
    task_id = tenant.open_task(uuid4())
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: reserve_of(tenant, task_id), range(20)))
    assert answers.count(None) == 5


def test_a_limit_is_lifted_for_a_task_and_by_nobody_without_one(database, tenant):
    with session(tenant, "orchestrator_app") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT tenancy.lift_task_limit()")
