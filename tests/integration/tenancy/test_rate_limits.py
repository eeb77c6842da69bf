"""Rate limits in SQL: the algorithm against its textbook twin, and exactly the burst for many connections at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MINUTE = 60_000_000
SET = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES (%s, %s, %s)"
CONNECTIONS = 24


@dataclass
class LeakyBucket:
    """The continuous-state twin of the algorithm in ITU-T I.371, annex A; the SQL is the virtual scheduling one."""

    interval: int
    burst: int
    level: int = 0
    last: int = 0

    def admits(self, now: int) -> bool:
        level = max(0, self.level - (now - self.last))
        if level > (self.burst - 1) * self.interval:
            return False
        self.level, self.last = level + self.interval, now
        return True

    def wait(self, now: int) -> int:
        """Until the next call would be admitted."""
        return self.level - (now - self.last) - (self.burst - 1) * self.interval


def limit(connection, tenant_id, call_class, *, per_minute, burst):
    connection.execute(SET, (tenant_id, f"{call_class}_calls_per_minute", per_minute))
    connection.execute(SET, (tenant_id, f"{call_class}_calls_burst", burst))


def admit_at(connection, tenant_id, now):
    return connection.execute("SELECT tenancy.admit_at(%s, 'read', %s)", (tenant_id, now)).fetchone()[0]


@pytest.fixture
def admin(database):
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    per_minute=st.integers(1, 10**7),
    burst=st.integers(1, 20),
    gaps=st.lists(st.integers(-3, 300), min_size=1, max_size=60),
)
def test_it_decides_as_a_leaky_bucket_does(admin, per_minute, burst, gaps):
    tenant_id, interval, now = uuid4(), MINUTE // per_minute, 1_700_000_000_000_000
    limit(admin, tenant_id, "read", per_minute=per_minute, burst=burst)
    bucket = LeakyBucket(interval, burst)
    for gap in gaps:
        # Hundredths of an interval, so that calls come before, at and after the limit; the clock may step back.
        now += gap * interval // 100
        wait = admit_at(admin, tenant_id, now)
        expected = 0 if bucket.admits(now) else bucket.wait(now)
        assert wait == expected


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(burst=st.integers(1, 10), gaps=st.lists(st.integers(0, 200), min_size=30, max_size=60))
def test_in_any_time_the_burst_and_what_the_rate_gives_in_it_is_the_most(admin, burst, gaps):
    tenant_id, interval, now, admitted = uuid4(), 1000, 1_700_000_000_000_000, []
    limit(admin, tenant_id, "read", per_minute=MINUTE // interval, burst=burst)
    for gap in gaps:
        now += gap
        admitted += [] if admit_at(admin, tenant_id, now) else [now]
    spans = zip(admitted, admitted[burst:], strict=False)
    assert [(first, last) for first, last in spans if last - first < interval] == []
    assert len(admitted) <= burst + (now - admitted[0]) // interval


def test_a_call_at_the_moment_it_was_told_is_admitted_and_one_microsecond_before_it_is_not(admin):
    tenant_id, now = uuid4(), 1_700_000_000_000_000
    limit(admin, tenant_id, "read", per_minute=7, burst=2)
    assert [admit_at(admin, tenant_id, now), admit_at(admin, tenant_id, now)] == [0, 0]
    wait = admit_at(admin, tenant_id, now)
    assert admit_at(admin, tenant_id, now + wait - 1) == 1
    assert admit_at(admin, tenant_id, now + wait) == 0


@pytest.mark.parametrize(("per_minute", "burst"), [(0, 10), (10, 0)])
def test_a_limit_of_zero_admits_nothing(admin, per_minute, burst):
    tenant_id = uuid4()
    limit(admin, tenant_id, "read", per_minute=per_minute, burst=burst)
    assert admit_at(admin, tenant_id, 1) == MINUTE


def test_the_largest_limits_admit(admin):
    tenant_id, now = uuid4(), 1_700_000_000_000_000
    limit(admin, tenant_id, "read", per_minute=1, burst=10**9)
    assert admit_at(admin, tenant_id, now) == 0


@pytest.mark.parametrize(
    ("name", "value"), [("read_calls_burst", 10**9 + 1), ("write_calls_per_minute", 2**63 - 1), ("sources", 10**15 + 1)]
)
def test_a_limit_that_could_not_be_computed_with_is_not_kept(admin, name, value):
    with pytest.raises(psycopg.errors.CheckViolation, match="limits_largest"):
        admin.execute(SET, (uuid4(), name, value))


def test_the_default_holds_for_a_tenant_without_a_limit_of_its_own(admin):
    admin.execute("UPDATE tenancy.default_limits SET value = 1 WHERE name LIKE 'read_%'")
    tenant_id = uuid4()
    assert [admit_at(admin, tenant_id, 1), admit_at(admin, tenant_id, 1)] == [0, MINUTE]


def test_without_a_limit_everything_is_admitted_and_nothing_is_kept(admin):
    admin.execute("UPDATE tenancy.default_limits SET value = NULL WHERE name = 'read_calls_per_minute'")
    assert [admit_at(admin, uuid4(), 1) for _ in range(1000)] == [0] * 1000
    assert admin.execute("SELECT count(*) FROM tenancy.rates").fetchone() == (0,)


def decide_often(dsn, grant, times):
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = "SELECT tenancy.admit(%s, 'read')"
        return [connection.execute(query, (grant,)).fetchone()[0] for _ in range(times)]


def test_many_connections_at_once_are_admitted_exactly_the_burst(database, admin, tenant):
    limit(admin, tenant.tenant_id, "read", per_minute=1, burst=100)
    dsn, grant = database.dsn("gateway_app"), tenant.grant()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        waits = list(pool.map(lambda _: decide_often(dsn, grant, 20), range(CONNECTIONS)))
    flat = [wait for some in waits for wait in some]
    assert (len(flat), flat.count(0)) == (CONNECTIONS * 20, 100)


def test_the_tenant_is_the_proof_s_and_the_others_keep_theirs(database, admin, tenant):
    other = database.create_tenant("other")
    limit(admin, tenant.tenant_id, "read", per_minute=1, burst=1)
    limit(admin, other.tenant_id, "read", per_minute=1, burst=2)
    dsn = database.dsn("gateway_app")
    assert [wait == 0 for wait in decide_often(dsn, tenant.grant(), 2)] == [True, False]
    assert [wait == 0 for wait in decide_often(dsn, other.grant(), 3)] == [True, True, False]


def test_a_proof_that_is_not_valid_is_no_call(database, tenant):
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="missing, forged or expired"):
        decide_often(database.dsn("gateway_app"), tenant.grant()[:-1] + "x", 1)


def grant_of(database, tenant_id, principal):
    query = "SELECT kernel.mint_grant(%s, %s, ARRAY['invitations.accept'])"
    return str(database.rows(query, tenant_id, principal)[0][0])


def test_identities_without_a_tenant_and_operators_have_rates_of_their_own(database, admin, tenant):
    admin.execute("UPDATE tenancy.default_limits SET value = 1 WHERE name LIKE 'read_%'")
    dsn, nowhere = database.dsn("gateway_app"), UUID(int=2**128 - 1)
    one, other = (grant_of(database, nowhere, f"identity:{uuid4()}") for _ in range(2))
    operator = grant_of(database, UUID(int=0), "operator:op_test")
    for grant in (tenant.grant(), one, other, operator):
        assert [wait == 0 for wait in decide_often(dsn, grant, 2)] == [True, False]
