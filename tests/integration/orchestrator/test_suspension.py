"""A suspended tenant's tasks end, and no other's, whatever they are doing."""

from __future__ import annotations

import psycopg
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.outbox import command
from morningai.bus.work import Long
from services.gateway.feed import Feed
from services.gateway.handlers import make_handlers
from services.tenancy.grpc_api.tenants import END_TASK
from services.tenancy.repository import tenants
from tests.conftest import OPERATOR_KEY
from tests.integration.orchestrator.test_task_graph import never, platform, request_task, state_of

__all__ = ["platform"]
ANSWER = [api.TASK_KIND_ANSWER]


@pytest.fixture
def suspend(start_service, database):
    """Suspends a tenant as tenancy does for an operator."""

    async def call(tenant):
        tenancy = await start_service("tenancy", {})
        with psycopg.connect(database.dsn("gateway_app")) as connection:
            grant = connection.execute("SELECT tenancy.authenticate(%s)", (OPERATOR_KEY,)).fetchone()[0]
        async with tenancy.database.tenant_session(grant) as session:
            await tenants.suspend_tenant(session, tenant.tenant_id)
            await tenants.send_to_open_tasks(session, tenant.tenant_id, command(END_TASK, to="orchestrator"))

    return call


async def test_running_work_stops_and_the_task_ends_with_the_reason(platform, suspend, tenant, database, eventually):
    gateway = await platform(answer=Long(never))
    task_id = await request_task(gateway, tenant, ANSWER)
    await eventually(lambda: database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'"))
    await suspend(tenant)
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    failure = database.rows("SELECT failure FROM gateway.tasks")[0][0]
    assert failure["reason"] == "tenant_suspended"
    await eventually(lambda: database.rows("SELECT state FROM faqgen.leases") == [("cancelled",)])
    assert database.rows("SELECT count(DISTINCT trace_id) FROM gateway.task_events") == [(1,)]


async def test_another_tenant_s_task_goes_on(platform, suspend, tenant, database, eventually):
    gateway = await platform(answer=Long(never))
    other = database.create_tenant("other")
    own_task, other_task = [await request_task(gateway, owner, ANSWER) for owner in (tenant, other)]
    await eventually(lambda: len(database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'")) == 2)
    await suspend(tenant)
    await eventually(lambda: state_of(database, own_task) == "cancelled")
    assert state_of(database, other_task) == "running"
    assert database.rows("SELECT tenant_id FROM tenancy.outbox") == [(tenant.tenant_id,)]


async def test_a_task_that_had_not_begun_ends_at_once(platform, suspend, start_service, tenant, database, eventually):
    gateway = await start_service("gateway", make_handlers(Feed(), lambda: None))
    task_id = await request_task(gateway, tenant, ANSWER)
    await suspend(tenant)
    await platform()
    await eventually(lambda: state_of(database, task_id) == "cancelled", seconds=20)
    assert database.rows("SELECT 1 FROM orchestrator.steps") == []
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters") == []


async def test_a_task_of_a_key_that_was_revoked_meanwhile_does_nothing(platform, tenant, database, eventually):
    await database.change("UPDATE tenancy.api_keys SET scopes = '{tasks.write,tasks.read}'")
    grant = tenant.grant()
    await database.change("UPDATE tenancy.api_keys SET revoked_at = now()")
    gateway = await platform()
    task_id = await request_task(gateway, Granted(tenant, grant), ANSWER)
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    assert database.rows("SELECT failure FROM gateway.tasks")[0][0]["reason"] == "principal_revoked"


async def test_a_tenant_cannot_end_another_s_tasks(tenant, database):
    other = database.create_tenant("other")
    with psycopg.connect(database.dsn("tenancy_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT tenancy.send_to_open_tasks(%s, 't', 's', '', '')", (other.tenant_id,))


class Granted:
    """A tenant with a grant that was minted earlier."""

    def __init__(self, tenant, grant):
        self.tenant_id = tenant.tenant_id
        self._grant = grant

    def grant(self):
        return self._grant
