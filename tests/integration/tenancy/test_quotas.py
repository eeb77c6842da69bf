"""Quotas at their last place: many transactions at once get exactly what is left, and what is deleted is free again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from morningai.db.quotas import Quota, check_quota
from morningai.db.session import Database
from morningai.errors import QuotaExceeded
from services.docs import index_rows, repository
from services.docs.index_rows import ReadFile
from services.gateway.domain.tasks import NewTask, TaskKind
from services.gateway.repository import tasks as gateway
from services.tenancy.domain.keys import NewApiKey, PresentableKey
from services.tenancy.domain.members import NewInvitation
from services.tenancy.domain.principals import Role
from services.tenancy.repository import keys, members

SET = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}', {})"
STORED = "SELECT size_bytes FROM docs.storage WHERE tenant_id = %s"
DIGEST = "{:064x}"


@asynccontextmanager
async def opened(dsn):
    made = Database(dsn, max_connections=16)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def docs(database):
    async with opened(database.dsn("docs_app")) as made:
        yield made


async def insert_source(docs, tenant, number):
    async with docs.tenant_session(tenant.grant()) as session:
        remote = "https://example.org/r"
        await repository.insert_source(session, source_id=f"source-{number}", repository=remote, remote_uri=remote)


async def insert_artifact(docs, tenant, number, size_bytes):
    async with docs.tenant_session(tenant.grant()) as session:
        await repository.insert_artifact(
            session, digest=DIGEST.format(number), media_type="application/x", size_bytes=size_bytes
        )


async def insert_task(database, tenant, number):
    new = NewTask(uuid4(), f"task {number}", "sources/small", (TaskKind.ANSWER,))
    async with database.tenant_session(tenant.grant()) as session:
        await gateway.insert_task(session, new, task_id=uuid4(), trace_id="1" * 32)


async def insert_key(tenancy, tenant, number):
    async with tenancy.tenant_session(tenant.grant()) as session:
        new = NewApiKey(f"key {number}", ("tasks.read",), None)
        await keys.create_key(session, new, PresentableKey(f"mk_{number}", "secret"))


async def insert_invitation(tenancy, tenant, number):
    async with tenancy.tenant_session(tenant.grant()) as session:
        new = NewInvitation("", Role.VIEWER, datetime.now(UTC) + timedelta(days=1))
        await members.invite_member(session, new, PresentableKey(f"mi_{number}", "secret"))


async def refusals(calls):
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), QuotaExceeded}
    return [result for result in results if result]


async def test_sources_at_once_fill_the_quota_exactly(docs, database, tenant):
    await database.change(SET.format(tenant.tenant_id, "sources", 7))
    refused = await refusals(insert_source(docs, tenant, number) for number in range(40))
    assert len(refused) == 33
    assert refused[0].limit == "sources"
    assert str(refused[0]) == (
        "The quota sources is 7, and this would make it 8. "
        "Upload to a source that you have. An operator can raise the quota."
    )
    assert database.rows("SELECT count(*) FROM docs.sources") == [(7,)]


async def test_tasks_at_once_fill_the_quota_exactly_and_an_ended_one_makes_room(database, tenant):
    await database.change(SET.format(tenant.tenant_id, "active_tasks", 5))
    async with opened(database.dsn("gateway_app")) as tasks:
        refused = await refusals(insert_task(tasks, tenant, number) for number in range(40))
        assert (len(refused), refused[0].limit) == (35, "active_tasks")
        await database.change(
            "UPDATE gateway.tasks SET ended_at = now() WHERE task_id = (SELECT task_id FROM gateway.tasks LIMIT 1)"
        )
        assert len(await refusals(insert_task(tasks, tenant, number) for number in range(3))) == 2


NO_LONGER = {
    "a revoked key": "UPDATE tenancy.api_keys SET revoked_at = now() WHERE key_id = 'mk_0'",
    "an expired key": "UPDATE tenancy.api_keys SET expires_at = now() WHERE key_id = 'mk_0'",
}


@pytest.mark.parametrize("kind", NO_LONGER)
async def test_keys_at_once_fill_the_quota_exactly_and_one_that_ended_makes_room(database, tenant, kind):
    await database.change(SET.format(tenant.tenant_id, "api_keys", 5))
    async with opened(database.dsn("tenancy_app")) as tenancy:
        assert await refusals([insert_key(tenancy, tenant, 0)]) == []
        refused = await refusals(insert_key(tenancy, tenant, number) for number in range(1, 20))
        assert len(refused) == 16  # the tenant's first key counts, too
        assert str(refused[0]) == (
            "The quota api_keys is 5, and this would make it 6. "
            "Revoke a key that is no longer used. An operator can raise the quota."
        )
        await database.change(NO_LONGER[kind])
        assert len(await refusals(insert_key(tenancy, tenant, number) for number in range(20, 23))) == 2


CLOSED = {
    "accepted": "UPDATE tenancy.invitations SET accepted_at = now() WHERE invitation_id = 'mi_0'",
    "revoked": "UPDATE tenancy.invitations SET revoked_at = now() WHERE invitation_id = 'mi_0'",
    "expired": "UPDATE tenancy.invitations SET expires_at = now() WHERE invitation_id = 'mi_0'",
}


@pytest.mark.parametrize("kind", CLOSED)
async def test_invitations_at_once_fill_the_quota_exactly_and_a_closed_one_makes_room(database, tenant, kind):
    await database.change(SET.format(tenant.tenant_id, "open_invitations", 4))
    async with opened(database.dsn("tenancy_app")) as tenancy:
        assert await refusals([insert_invitation(tenancy, tenant, 0)]) == []
        refused = await refusals(insert_invitation(tenancy, tenant, number) for number in range(1, 20))
        assert (len(refused), refused[0].limit) == (16, "open_invitations")
        await database.change(CLOSED[kind])
        assert len(await refusals(insert_invitation(tenancy, tenant, number) for number in range(20, 23))) == 2


async def test_bytes_at_once_fill_the_quota_exactly(docs, database, tenant):
    await database.change(SET.format(tenant.tenant_id, "storage_bytes", 1000))
    refused = await refusals(insert_artifact(docs, tenant, number, 300) for number in range(20))
    assert (len(refused), refused[0].limit) == (17, "storage_bytes")
    assert database.rows(STORED, tenant.tenant_id) == [(900,)]
    assert await refusals([insert_artifact(docs, tenant, 99, 100)]) == []


async def test_the_files_that_were_read_count_and_those_that_are_deleted_do_not(docs, database, tenant):
    await insert_source(docs, tenant, 1)
    files = [ReadFile(f"{n}.md", f"{n:040x}", "é" * 50, (), ()) for n in range(3)]
    async with docs.tenant_session(tenant.grant()) as session:
        await index_rows.insert_read_files(session, "source-1", files)
    assert database.rows(STORED, tenant.tenant_id) == [(300,)]
    async with docs.tenant_session(tenant.grant()) as session:
        await index_rows.insert_read_files(session, "source-1", files)
    assert database.rows(STORED, tenant.tenant_id) == [(300,)]
    async with docs.tenant_session(tenant.grant()) as session:
        await session.execute("DELETE FROM sources WHERE source_id = 'source-1'")
    assert database.rows(STORED, tenant.tenant_id) == [(0,)]


async def test_reading_stops_at_the_quota_and_keeps_nothing_of_the_batch(docs, database, tenant):
    await database.change(SET.format(tenant.tenant_id, "storage_bytes", 100))
    await insert_source(docs, tenant, 1)
    files = [ReadFile(f"{n}.md", f"{n:040x}", "x" * 50, (), ()) for n in range(3)]
    with pytest.raises(QuotaExceeded):
        async with docs.tenant_session(tenant.grant()) as session:
            await index_rows.insert_read_files(session, "source-1", files)
    assert database.rows("SELECT count(*) FROM docs.blobs") == [(0,)]


async def test_another_tenant_s_things_do_not_count(docs, database, tenant):
    other = database.create_tenant("other")
    for one in (tenant, other):
        await database.change(SET.format(one.tenant_id, "sources", 1))
        assert await refusals([insert_source(docs, one, 1)]) == []


async def test_without_a_quota_nothing_is_counted(docs, database, tenant):
    await database.change("UPDATE tenancy.default_limits SET value = NULL WHERE name = 'sources'")
    async with docs.tenant_session(tenant.grant()) as session:
        await check_quota(session, Quota.SOURCES, "SELECT 10^9 AS used")


async def test_docs_cannot_change_its_count(docs, tenant):
    async with docs.tenant_session(tenant.grant()) as session:
        granted = await session.row("SELECT has_table_privilege('docs.storage', 'INSERT, UPDATE, DELETE') AS may")
    assert granted["may"] is False
