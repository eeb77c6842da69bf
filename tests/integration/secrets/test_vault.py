"""The vault in tenants' sessions of the gateway's login, on real rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from morningai.db.session import Database
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.rewrap import rewrap
from morningai.secrets.sealed import CannotOpen
from morningai.secrets.vault import Cell, Vault
from tests.conftest import TestDatabase, TestTenant

OLD, NEW = make_key("old"), make_key("new")
SECRET = b"whsec_hush"


@pytest.fixture
async def gateway(database: TestDatabase) -> AsyncIterator[Database]:
    pool = Database(database.dsn("gateway_app"))
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def cell(tenant: TestTenant) -> Cell:
    return Cell(tenant.tenant_id, "webhook_endpoints", "secret", uuid4())


async def seal(gateway: Database, tenant: TestTenant, cell: Cell, ring: str = OLD) -> bytes:
    async with gateway.tenant_session(tenant.grant()) as session:
        return await Vault(KeyRing.parse(ring)).seal(session, cell, SECRET)


async def open_cell(gateway: Database, tenant: TestTenant, cell: Cell, sealed: bytes, ring: str = OLD) -> bytes:
    async with gateway.tenant_session(tenant.grant()) as session:
        return await Vault(KeyRing.parse(ring)).open(session, cell, sealed)


async def test_a_credential_opens_in_its_own_cell(gateway: Database, tenant: TestTenant, cell: Cell) -> None:
    sealed = await seal(gateway, tenant, cell)
    assert SECRET not in sealed
    assert await open_cell(gateway, tenant, cell, sealed) == SECRET


MOVES = {
    "another row": lambda cell: replace(cell, row_id=uuid4()),
    "another column": lambda cell: replace(cell, column="previous_secret"),
    "another table": lambda cell: replace(cell, table="other"),
}


@pytest.mark.parametrize("move", MOVES)
async def test_moved_within_the_tenant_it_does_not_open(
    gateway: Database, tenant: TestTenant, cell: Cell, move: str
) -> None:
    sealed = await seal(gateway, tenant, cell)
    with pytest.raises(CannotOpen):
        await open_cell(gateway, tenant, MOVES[move](cell), sealed)


async def test_moved_to_another_tenant_it_does_not_open(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    other = database.create_tenant("other")
    sealed = await seal(gateway, tenant, cell)
    with pytest.raises(CannotOpen):
        await open_cell(gateway, other, replace(cell, tenant_id=other.tenant_id), sealed)


async def test_moved_with_its_data_key_it_does_not_open_either(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    other = database.create_tenant("other")
    sealed = await seal(gateway, tenant, cell)
    database.rows(
        "INSERT INTO gateway.data_keys (tenant_id, data_key_id, wrapped)"
        " SELECT %s, data_key_id, wrapped FROM gateway.data_keys RETURNING 1",
        other.tenant_id,
    )
    with pytest.raises(CannotOpen):
        await open_cell(gateway, other, replace(cell, tenant_id=other.tenant_id), sealed)


async def test_a_tenant_has_one_data_key_however_many_seal_at_once(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    sealed = await asyncio.gather(*(seal(gateway, tenant, cell) for _ in range(6)))
    assert database.rows("SELECT count(*) FROM gateway.data_keys") == [(1,)]
    assert {await open_cell(gateway, tenant, cell, one) for one in sealed} == {SECRET}


async def test_two_tenants_have_two_data_keys(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    other = database.create_tenant("other")
    await seal(gateway, tenant, cell)
    await seal(gateway, other, replace(cell, tenant_id=other.tenant_id))
    assert database.rows("SELECT count(DISTINCT wrapped) FROM gateway.data_keys") == [(2,)]


async def test_a_changed_byte_in_the_row_of_the_data_key_is_noticed(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    sealed = await seal(gateway, tenant, cell)
    last = "length(wrapped) - 1"
    database.execute(f"UPDATE gateway.data_keys SET wrapped = set_byte(wrapped, {last}, get_byte(wrapped, {last}) # 1)")
    with pytest.raises(CannotOpen):
        await open_cell(gateway, tenant, cell, sealed)


async def test_the_key_is_replaced_while_everything_opens(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    sealed = await seal(gateway, tenant, cell)
    both = f"{NEW},{OLD}"
    assert await open_cell(gateway, tenant, cell, sealed, both) == SECRET
    assert rewrap(database.admin_dsn, "gateway", KeyRing.parse(both)) == 1
    assert await open_cell(gateway, tenant, cell, sealed, both) == SECRET
    assert await open_cell(gateway, tenant, cell, sealed, NEW) == SECRET
    with pytest.raises(CannotOpen):
        await open_cell(gateway, tenant, cell, sealed, OLD)
    assert rewrap(database.admin_dsn, "gateway", KeyRing.parse(both)) == 0


async def test_wrapping_again_without_the_old_key_changes_nothing(
    gateway: Database, database: TestDatabase, tenant: TestTenant, cell: Cell
) -> None:
    sealed = await seal(gateway, tenant, cell)
    with pytest.raises(CannotOpen):
        rewrap(database.admin_dsn, "gateway", KeyRing.parse(NEW))
    assert await open_cell(gateway, tenant, cell, sealed) == SECRET
