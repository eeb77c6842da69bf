"""Uploads beside others: while the one before is being indexed, and while another of the same source fails."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from morningai.db.session import Database
from morningai.errors import QuotaExceeded
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.git.bundle import import_bundle
from services.docs.settings import Settings
from services.docs.sources import SourceStores

TENANT_ID = uuid4()


async def upload(session, digest: str, commit: str):
    await repository.insert_artifact(session, digest=digest, media_type="application/x-git-bundle", size_bytes=1)
    kept = {"source_id": "shop", "repository": "shop", "bundle_digest": digest, "commit": commit}
    return await repository.insert_source(session, **kept) or await repository.replace_bundle(session, **kept)


async def test_an_upload_during_indexing_is_still_to_be_indexed(database, tenant):
    docs = Database(database.dsn("docs_app"))
    await docs.open()
    async with docs.tenant_session(tenant.grant()) as session:
        first = await upload(session, "a" * 64, "1" * 40)
        await upload(session, "b" * 64, "2" * 40)
        await repository.mark_source_indexed(session, first, "1" * 40)
        source = await repository.get_source(session, "shop")
    await docs.close()
    assert (source.state, source.commit) == ("registered", "2" * 40)


@pytest.fixture
def stores(tmp_path):
    names = ("database_dsn", "relay_dsn", "nats_url", "nats_user", "nats_password", "grpc_address", "tenancy_address")
    keys = make_key("k1")
    settings = Settings(work_dir=tmp_path / "work", secret_keys=keys, **dict.fromkeys(names, "dbname=none"))
    return SourceStores(settings, Vault(KeyRing.parse(keys)))


async def keep(stores, bundle, *, fails=False):
    """The commit in the store, or QuotaExceeded after its objects were imported."""
    async with stores.store_for_upload(TENANT_ID, "shop") as store:
        commit = await import_bundle(bundle, store)
        if fails:
            raise QuotaExceeded("sources", "The quota is full.", remedy="")
        return commit


async def stored(stores, commit):
    async with stores.store_of(TENANT_ID, "shop") as store:
        return await store.has(commit)


async def test_a_new_source_s_objects_go_when_its_upload_fails(stores, project):
    with pytest.raises(QuotaExceeded):
        await keep(stores, project.bundle("HEAD"), fails=True)
    assert list((stores.folder / str(TENANT_ID)).iterdir()) == []


async def test_a_failed_upload_takes_nothing_from_a_source_that_was_there(stores, project):
    commit = await keep(stores, project.bundle("HEAD"))
    with pytest.raises(QuotaExceeded):
        await keep(stores, project.bundle("HEAD"), fails=True)
    assert await stored(stores, commit)


@pytest.mark.parametrize("failing", [0, 1])
async def test_of_two_uploads_of_a_new_source_at_once_the_good_one_keeps_its_objects(stores, project, failing):
    bundle = project.bundle("HEAD")
    results = await asyncio.gather(
        *(keep(stores, bundle, fails=number == failing) for number in range(2)), return_exceptions=True
    )
    assert isinstance(results[failing], QuotaExceeded)
    assert await stored(stores, results[1 - failing])
