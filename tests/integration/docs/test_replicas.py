"""Docs twice, each with a cache of its own: a source that both index at once is one snapshot, of all its files."""

from __future__ import annotations

import hashlib

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.db.session import Database
from morningai.llm import Models, ModelSettings, load_prompt
from morningai.rpc.channel import make_channel
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.app import DOCUMENT_PROMPT
from services.docs.handlers import make_handlers
from services.docs.settings import Settings
from services.docs.sources import SourceStores
from services.docs.workflow import Writer
from tests.integration.bus.test_settle import orchestrator, send

TASKS = 8


@pytest.fixture
def replica(start_service, database, tmp_path):
    """`await replica("first")`: its handlers over a pool and a work folder of its own."""

    async def start(name):
        folder = tmp_path / name
        names = ("database_dsn", "relay_dsn", "nats_url", "nats_user", "nats_password", "grpc_address")
        keys = make_key("k1")
        address = f"unix:{tmp_path}/tenancy.sock"
        settings = Settings(
            work_dir=folder, secret_keys=keys, tenancy_address=address, **dict.fromkeys(names, "dbname=none")
        )
        own = Database(database.dsn("docs_app"))
        await own.open()
        writer = Writer(Models(ModelSettings(), make_channel(address)), load_prompt("services.docs", *DOCUMENT_PROMPT))
        handlers = make_handlers(own, SourceStores(settings, Vault(KeyRing.parse(keys))), writer)
        return own, await start_service("docs", handlers, replica=name)

    return start


async def add_source(docs, tenant, project):
    bundle = project.bundle("HEAD").read_bytes()
    digest, commit = hashlib.sha256(bundle).hexdigest(), project.git("rev-parse", "HEAD")
    async with docs.tenant_session(tenant.grant()) as session:
        media_type = "application/x-git-bundle"
        await repository.insert_artifact(session, digest=digest, media_type=media_type, size_bytes=len(bundle))
        await repository.insert_artifact_piece(session, digest, 0, bundle)
        await repository.insert_source(
            session, source_id="shop", repository="shop", bundle_digest=digest, commit=commit
        )
    return commit


async def test_two_replicas_that_index_the_same_source_at_once_make_one_snapshot_of_it(
    start_service, replica, tenant, project, database, eventually
):
    indexed = []

    async def on_reply(session, envelope, message):
        indexed.append((message.snapshot.name, message.snapshot.commit, message.file_count))

    sender = await start_service("orchestrator", orchestrator(on_reply))
    first, _ = await replica("first")
    second, _ = await replica("second")
    commit = await add_source(first, tenant, project)
    for _ in range(TASKS):
        await send(sender, tenant, events.IndexSource(source="sources/shop"), to="docs")
    await eventually(lambda: len(indexed) == TASKS, seconds=60)
    assert len(set(indexed)) == 1
    assert indexed[0][1:] == (commit, 3)
    assert database.rows("SELECT state, max(attempt) FROM docs.leases GROUP BY state") == [("finished", 1)]
    assert {worker for (worker,) in database.rows("SELECT worker FROM docs.leases")} == {"first", "second"}
    for pool in (first, second):
        await pool.close()
