"""An upload that arrives while the one before it is being indexed."""

from __future__ import annotations

from morningai.db.session import Database
from services.docs import repository


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
