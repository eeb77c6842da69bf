"""DeliverChange as it arrives on the bus: whatever happens, it ends in one branch with one commit, or says why not."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.handling import Short
from morningai.bus.work import Long
from morningai.db.session import Database
from morningai.errors import Unavailable
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.vault import Vault
from services.docs import repository
from services.docs.credentials import set_credential
from services.docs.delivery import deliver_change
from services.docs.domain import Credential
from services.docs.handlers import make_handlers
from services.docs.settings import Settings
from services.docs.sources import SourceStores
from tests.git_server import ADDRESS
from tests.integration.docs.test_publishing import NO_LONGER, REPLIES
from tests.integration.docs.test_push import BRANCH, PATCH, branches

KEY = make_key("k1")
TOKEN = "glpat-+hush/hush=0123"
HASH = hashlib.sha256(PATCH.encode()).hexdigest()
SETTINGS = ("database_dsn", "relay_dsn", "nats_url", "nats_user", "nats_password", "grpc_address", "tenancy_address")


async def ignore(session, envelope, message):
    return None


@pytest.fixture
async def sessions(database):
    pool = Database(database.dsn("docs_app"))
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def desk(start_service, tenant, database, sessions, server, project, tmp_path, eventually):
    """An orchestrator that commands and hears, a codegen that hands over, a docs that delivers to the git server."""
    server.username, server.token = "deploy", TOKEN
    settings = Settings(
        work_dir=tmp_path / "docs", secret_keys=KEY, docs_egress_allowed=ADDRESS,
        docs_certificate_file=server.certificate_file, **dict.fromkeys(SETTINGS, "dbname=none"),
    )  # fmt: skip
    made = SimpleNamespace(
        replies=[],
        stores=SourceStores(settings, Vault(KeyRing.parse(KEY))),
        task_id=tenant.open_task(uuid4()),
        change=f"changes/{uuid4()}",
        base=project.git("rev-parse", "HEAD"),
    )

    async def on_reply(session, envelope, message):
        made.replies.append(message)

    orchestrator = dict.fromkeys(
        (
            events.TaskRequested,
            events.CancelTask,
            events.StartTask,
            events.ExpireTask,
            events.StepTimedOut,
            events.ApprovalDue,
        ),
        Short(ignore),
    )
    sender = await start_service("orchestrator", orchestrator | dict.fromkeys(REPLIES, Short(on_reply)))
    codegen = await start_service("codegen", dict.fromkeys((events.GenerateChange, events.CancelWork), Short(ignore)))
    uri = f"https://{ADDRESS}:{server.port}/private"
    async with sessions.tenant_session(tenant.grant()) as session:
        await repository.insert_source(session, source_id="shop", repository=uri, remote_uri=uri)
        await set_credential(session, Vault(KeyRing.parse(KEY)), "shop", Credential("deploy", TOKEN))

    async def start(deliver=None, **limits):
        handlers = make_handlers(sessions, made.stores, None)
        own = {events.DeliverChange: Long(deliver)} if deliver else {}
        return await start_service("docs", {**handlers, **own}, **limits)

    async def hand_over(patch=PATCH, task_id=None):
        async with codegen.database.tenant_session(tenant.grant()) as session:
            message = events.PatchVerified(change=made.change, patch=patch)
            await outbox.emit(session, message, task_id=task_id or made.task_id)

    async def command(**fields):
        message = events.DeliverChange(
            change=made.change, patch_hash=HASH, source="sources/shop", base_commit=made.base, branch=BRANCH,
            instruction="Say hello.", trace_id="ab",
        )  # fmt: skip
        message.create_time.FromSeconds(1_764_000_000)
        message.MergeFrom(events.DeliverChange(**fields))
        async with sender.database.tenant_session(tenant.grant()) as session:
            return await outbox.emit(session, message, task_id=made.task_id, to="docs")

    async def reply():
        await eventually(lambda: made.replies)
        return made.replies[0]

    made.start, made.hand_over, made.command, made.reply, made.sender = start, hand_over, command, reply, sender
    return made


def pushes(server):
    return len([path for path in server.requests if path.endswith("/git-receive-pack")])


async def test_a_verified_change_is_delivered(desk, project, server):
    await desk.start()
    await desk.hand_over()
    await desk.command()
    delivered = await desk.reply()
    assert isinstance(delivered, events.ChangeDelivered)
    assert (delivered.change, delivered.branch) == (desk.change, BRANCH)
    assert branches(project)[BRANCH] == delivered.commit
    assert project.git("rev-parse", f"{delivered.commit}^") == desk.base
    assert project.git("log", "-1", "--format=%B", delivered.commit) == (
        f"Say hello.\n\nTask: tasks/{desk.task_id}\nTrace: ab\nChange: {desk.change}"
    )
    assert pushes(server) == 1


async def test_a_command_that_is_sent_again_is_answered_again_and_pushes_nothing(
    desk, project, server, tenant, database, eventually
):
    def answered():
        return database.rows("SELECT published_at FROM docs.outbox WHERE type LIKE '%%.ChangeDelivered'")[0][0]

    await desk.start()
    await desk.hand_over()
    command_id = await desk.command()
    delivered = await desk.reply()
    first = answered()
    async with desk.sender.database.tenant_session(tenant.grant()) as session:
        await outbox.send_again(session, command_id)
    await eventually(lambda: answered() not in (None, first))
    assert pushes(server) == 1
    assert branches(project)[BRANCH] == delivered.commit


async def test_a_worker_that_died_after_its_push_is_followed_by_one_that_finds_it(
    desk, project, server, sessions, eventually
):
    attempts = []

    async def dies_once(work, message):
        finish = await deliver_change(work, message, database=sessions, stores=desk.stores)
        attempts.append(branches(project)[BRANCH])
        if work.attempt == 1:
            raise RuntimeError("killed between the push and its record")
        return finish

    await desk.start(dies_once)
    await desk.hand_over()
    await desk.command()
    delivered = await desk.reply()
    assert attempts == [delivered.commit, delivered.commit]
    assert list(branches(project)) == ["main", BRANCH]
    assert len(desk.replies) == 1


async def test_a_worker_that_pushes_late_and_the_one_after_it_end_in_one_branch(desk, project, sessions, eventually):
    """The first one's push comes after the second's, and finds the branch there."""
    going_on, late = asyncio.Event(), []

    async def deliver(work, message):
        if work.attempt == 1:
            late.append(asyncio.create_task(push_late(work, message)))
            raise Unavailable("It lost its lease, and does not know.")
        return await deliver_change(work, message, database=sessions, stores=desk.stores)

    async def push_late(work, message):
        await going_on.wait()
        await deliver_change(work, message, database=sessions, stores=desk.stores)

    await desk.start(deliver)
    await desk.hand_over()
    await desk.command()
    delivered = await desk.reply()
    going_on.set()
    await late[0]
    assert branches(project)[BRANCH] == delivered.commit
    assert len(desk.replies) == 1


async def test_a_command_that_overtakes_its_patch_waits_for_it(desk, project, database, eventually):
    await desk.start()
    await desk.command()
    await eventually(lambda: database.rows("SELECT 1 FROM docs.leases WHERE detail ~ 'has not come yet'"))
    await desk.hand_over()
    delivered = await desk.reply()
    assert branches(project)[BRANCH] == delivered.commit


@pytest.mark.parametrize("kind", ["another patch", "another task's"])
async def test_what_was_not_approved_is_not_pushed(desk, project, tenant, kind):
    await desk.start(max_attempts=2)
    other = {"another patch": {"patch": PATCH + "\n"}, "another task's": {"task_id": tenant.open_task(uuid4())}}
    await desk.hand_over(**other[kind])
    await desk.command()
    assert isinstance(await desk.reply(), events.StepFailed)
    assert BRANCH not in branches(project)


async def test_a_branch_with_another_commit_fails_with_what_to_do(desk, project):
    project.git("branch", BRANCH, "v1")
    before = branches(project)
    await desk.start()
    await desk.hand_over()
    await desk.command()
    failed = await desk.reply()
    assert (failed.failure.reason, branches(project)) == ("branch_exists", before)
    assert failed.failure.remedy == "Ask again with the name of a branch that is not there."


async def test_a_credential_that_may_only_read_fails_with_what_to_do(desk, project, server):
    server.is_read_only = True
    await desk.start()
    await desk.hand_over()
    await desk.command()
    failed = await desk.reply()
    assert failed.failure.reason == "push_refused"
    assert "morningai source credential set" in failed.failure.remedy
    assert TOKEN not in str(failed)


@pytest.mark.parametrize("kind", NO_LONGER)
async def test_a_change_of_a_key_that_no_longer_may_is_not_pushed(desk, project, database, kind):
    async def after_the_claim(*arguments, **options):
        made = await SourceStores.make_commit(desk.stores, *arguments, **options)
        database.execute(NO_LONGER[kind])
        return made

    desk.stores.make_commit = after_the_claim
    await desk.start()
    await desk.hand_over()
    await desk.command()
    failed = await desk.reply()
    assert (failed.failure.reason, failed.failure.remedy) == ("principal_revoked", "Ask again with a valid key.")
    assert BRANCH not in branches(project)


async def test_a_delivery_that_is_not_wanted_any_more_is_never_begun(desk, project, tenant, database, eventually):
    await desk.hand_over()
    command_id = await desk.command()
    async with desk.sender.database.tenant_session(tenant.grant()) as session:
        unwanted = events.CancelWork(command_ids=[str(command_id)])
        await outbox.emit(session, unwanted, task_id=desk.task_id, to="docs")
    database.execute(
        f"INSERT INTO docs.leases (tenant_id, work_id, task_id, attempt, state, worker, timer_id, expires_at) "
        f"VALUES ('{tenant.tenant_id}', '{command_id}', '{desk.task_id}', 1, 'cancelled', '', '{command_id}', now())"
    )
    await desk.start()
    await eventually(lambda: len(database.rows("SELECT 1 FROM docs.inbox")) == 3)
    await asyncio.sleep(0.3)
    assert (desk.replies, BRANCH in branches(project)) == ([], False)


async def test_another_tenant_s_patch_and_source_deliver_nothing(desk, project, database, sessions):
    stranger = database.create_tenant("stranger")
    await desk.start()
    await desk.hand_over()
    async with sessions.tenant_session(stranger.grant()) as session:
        found = await repository.get_patch(session, desk.task_id, desk.change, patch_hash=HASH)
    assert found is None
