"""Where a branch of a source is, asked of a real remote; and a source that is indexed at the commit it was found at."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.broker import Handlers
from morningai.bus.handling import Short
from morningai.db.session import Database
from morningai.egress import EgressGuard
from morningai.errors import InvalidInput, Unavailable
from morningai.llm import Models, ModelSettings, load_prompt
from morningai.rpc.channel import make_channel
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.app import DOCUMENT_PROMPT
from services.docs.credentials import set_credential
from services.docs.domain import Credential, parse_remote
from services.docs.git.remote import RemoteAccess, read_branch
from services.docs.handlers import make_handlers
from services.docs.settings import Settings
from services.docs.sources import SourceStores
from services.docs.workflow import Writer
from services.gateway.handlers import SCHEDULE_HANDLERS, TASK_EVENTS
from tests.git_server import ADDRESS, HOST
from tests.integration.bus.test_settle import ignore, orchestrator, send

REVOKE = "UPDATE tenancy.api_keys SET revoked_at = now() WHERE tenant_id = '{}'"


async def test_a_branch_is_read_without_fetching_anything(project, server, store):
    project.git("branch", "old", "HEAD~1")
    project.git("update-ref", "refs/a/refs/heads/main", "HEAD~1")  # git finds it by the end of its name, too
    newest = project.git("rev-parse", "HEAD")
    remote, access = server.remote("project"), server.access()
    assert await read_branch(remote, store, access, branch="") == newest
    assert await read_branch(remote, store, access, branch="main") == newest
    assert await read_branch(remote, store, access, branch="old") == project.git("rev-parse", "HEAD~1")
    assert not any(path.is_file() for path in (store.folder / "objects").rglob("*"))


@pytest.mark.parametrize("branch", ["v1", "nope"])
async def test_a_branch_that_is_not_there_is_named(server, store, branch):
    with pytest.raises(InvalidInput) as refused:
        await read_branch(server.remote("project"), store, server.access(), branch=branch)
    assert refused.value.field == "branch"


async def test_a_remote_that_does_not_answer_is_tried_again(server, store):
    nobody = parse_remote(f"https://{HOST}:1/project")
    with pytest.raises(Unavailable):
        await read_branch(nobody, store, server.access(), branch="")


async def test_an_internal_address_is_not_asked(server, store):
    access = RemoteAccess(guard=EgressGuard(), certificate_file=server.certificate_file)
    with pytest.raises((InvalidInput, Unavailable)):
        await read_branch(server.remote("project"), store, access, branch="")
    assert server.requests == []


@pytest.fixture
async def platform(start_service, database, tmp_path, tenant, server):
    """Docs with the git server allowed, and what it answered."""
    names = ("database_dsn", "relay_dsn", "nats_url", "nats_user", "nats_password", "grpc_address")
    keys = make_key("k1")
    address = f"unix:{tmp_path}/tenancy.sock"
    settings = Settings(
        work_dir=tmp_path / "docs",
        secret_keys=keys,
        tenancy_address=address,
        docs_egress_allowed=ADDRESS,
        docs_certificate_file=server.certificate_file,
        **dict.fromkeys(names, "dbname=none"),
    )
    docs = Database(database.dsn("docs_app"))
    await docs.open()
    writer = Writer(Models(ModelSettings(), make_channel(address)), load_prompt("services.docs", *DOCUMENT_PROMPT))
    answers = []

    async def on_answer(session, envelope, message):
        answers.append(message)

    await start_service("docs", make_handlers(docs, SourceStores(settings, Vault(KeyRing.parse(keys))), writer))
    gateway: Handlers = {kind: Short(ignore) for kind in (*TASK_EVENTS, *SCHEDULE_HANDLERS)}
    gateway = {**gateway, events.SourceChecked: Short(on_answer)}
    asking = await start_service("gateway", gateway)
    planning = await start_service("orchestrator", orchestrator(on_answer))
    yield SimpleNamespace(docs=docs, gateway=asking, orchestrator=planning, answers=answers)
    await docs.close()


@pytest.fixture
def ask(platform, tenant, eventually):
    """`await ask(message)`: what docs answers to it."""

    async def ask(message, sender=None):
        platform.answers.clear()
        await send(sender or platform.gateway, tenant, message, to="docs")
        await eventually(lambda: len(platform.answers) == 1, seconds=30)
        return platform.answers[0]

    return ask


async def add_remote(docs, tenant, server, path="project"):
    async with docs.tenant_session(tenant.grant()) as session:
        uri = f"https://{ADDRESS}:{server.port}/{path}"
        await repository.insert_source(session, source_id="shop", repository=uri, remote_uri=uri)


async def add_upload(docs, tenant, project):
    bundle = project.bundle("HEAD").read_bytes()
    digest, commit = hashlib.sha256(bundle).hexdigest(), project.git("rev-parse", "HEAD")
    async with docs.tenant_session(tenant.grant()) as session:
        media_type = "application/x-git-bundle"
        await repository.insert_artifact(session, digest=digest, media_type=media_type, size_bytes=len(bundle))
        await repository.insert_artifact_piece(session, digest, 0, bundle)
        source = {"source_id": "shop", "repository": "shop", "bundle_digest": digest, "commit": commit}
        if await repository.insert_source(session, **source) is None:
            await repository.replace_bundle(session, **source)
    return commit


async def test_docs_answers_with_each_commit_that_was_pushed(platform, ask, tenant, server, project):
    await add_remote(platform.docs, tenant, server)
    question = events.CheckSource(source="sources/shop", branch="main")
    assert (await ask(question)).commit == project.git("rev-parse", "HEAD")
    pushed = project.commit({"new.txt": "new\n"})
    assert await ask(question) == events.SourceChecked(commit=pushed)


async def test_docs_answers_why_it_cannot_look(platform, ask, tenant, server):
    await add_remote(platform.docs, tenant, server, "missing")
    answer = await ask(events.CheckSource(source="sources/shop"))
    assert (answer.commit, answer.failure.reason, answer.source_is_gone) == ("", "invalid_input", False)
    assert "there is no repository" in answer.failure.message


async def test_docs_answers_that_the_credential_cannot_be_opened(platform, ask, tenant, server):
    await add_remote(platform.docs, tenant, server)
    other_keys = Vault(KeyRing.parse(make_key("k2")))
    async with platform.docs.tenant_session(tenant.grant()) as session:
        await set_credential(session, other_keys, "shop", Credential("git", "token"))
    answer = await ask(events.CheckSource(source="sources/shop"))
    assert (answer.failure.reason, answer.source_is_gone) == ("secret_cannot_be_opened", False)


async def test_docs_answers_that_a_source_is_gone(platform, ask):
    answer = await ask(events.CheckSource(source="sources/shop"))
    assert (answer.commit, answer.source_is_gone) == ("", True)


async def test_of_an_uploaded_source_the_upload_is_the_newest(platform, ask, tenant, project):
    commit = await add_upload(platform.docs, tenant, project)
    assert (await ask(events.CheckSource(source="sources/shop"))).commit == commit
    refused = await ask(events.CheckSource(source="sources/shop", branch="main"))
    assert "branch" in refused.failure.message


@pytest.mark.parametrize("kind", ["remote", "upload"])
async def test_a_source_is_indexed_at_the_commit_that_was_asked_for(platform, ask, tenant, server, project, kind):
    first = project.git("rev-parse", "HEAD~1")
    if kind == "remote":
        await add_remote(platform.docs, tenant, server)
    else:
        await add_upload(platform.docs, tenant, project)
    older = await ask(events.IndexSource(source="sources/shop", commit=first), platform.orchestrator)
    newest = await ask(events.IndexSource(source="sources/shop"), platform.orchestrator)
    again = await ask(events.IndexSource(source="sources/shop", commit=first), platform.orchestrator)
    assert (older.snapshot.commit, older.file_count) == (first, 2)
    assert (newest.snapshot.commit, newest.file_count) == (project.git("rev-parse", "HEAD"), 3)
    assert again.snapshot == older.snapshot


async def test_an_older_commit_of_an_upload_is_not_taken_for_the_upload(platform, ask, tenant, project):
    newest = await add_upload(platform.docs, tenant, project)
    first = project.git("rev-parse", "HEAD~1")
    await ask(events.IndexSource(source="sources/shop", commit=first), platform.orchestrator)
    assert (await ask(events.CheckSource(source="sources/shop"))).commit == newest


async def test_a_commit_that_is_not_there_fails_the_step(platform, ask, tenant, project):
    await add_upload(platform.docs, tenant, project)
    answer = await ask(events.IndexSource(source="sources/shop", commit="f" * 40), platform.orchestrator)
    assert isinstance(answer, events.StepFailed)


class Revoking(list):
    """The requests to a server; the first one takes the key away from whoever asked."""

    def __init__(self, database, tenant):
        super().__init__()
        self.database, self.tenant = database, tenant

    def append(self, request):
        self.database.execute(REVOKE.format(self.tenant.tenant_id))
        super().append(request)


async def test_remotes_that_do_not_answer_keep_nobody_from_being_indexed(platform, ask, tenant, server, monkeypatch):
    answering = asyncio.Event()

    async def wait(*_, **__):
        await answering.wait()
        return "c" * 40

    monkeypatch.setattr(SourceStores, "newest_commit", wait)
    await add_remote(platform.docs, tenant, server)
    for _ in range(4):
        await send(platform.gateway, tenant, events.CheckSource(source="sources/shop"), to="docs")
    answer = await ask(events.IndexSource(source="sources/shop"), platform.orchestrator)
    assert isinstance(answer, events.SourceIndexed)
    answering.set()


async def test_for_whoever_may_not_ask_any_more_nothing_is_answered(platform, tenant, database, server, eventually):
    await add_remote(platform.docs, tenant, server)
    task_id = tenant.open_task(uuid4())
    await database.change(f"UPDATE kernel.tasks SET schedule_id = task_id WHERE task_id = '{task_id}'")
    server.requests = Revoking(database, tenant)
    await send(platform.gateway, tenant, events.CheckSource(source="sources/shop"), task_id=task_id, to="docs")
    await eventually(lambda: database.rows("SELECT state, attempt FROM docs.leases") == [("finished", 1)], seconds=30)
    assert server.requests
    assert database.rows("SELECT type FROM docs.outbox WHERE work_id IS NULL") == []
