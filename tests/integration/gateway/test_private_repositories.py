"""A private repository from the public door to its snapshot, through the real services, and where its token is seen."""

from __future__ import annotations

import base64
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.rpc.status import remedy_of
from tests.conftest import clone, running_nats
from tests.git_server import ADDRESS, serving_git
from tests.integration.gateway.platform import (
    bearer,
    connected,
    field_of,
    first_events,
    make_bundle,
    new_task,
    running_platform,
    upload,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "glpat-hush0123456789"
WRONG = "glpat-wrong987654321"
ALL_TABLES = """
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("git")
    script = """
    git init --quiet --initial-branch=main repository && cd repository
    echo "# The private shop" > README.md && git add README.md
    git -c user.name=Ada -c user.email=ada@example.org commit --quiet --message first
    """
    subprocess.run(script, shell=True, check=True, cwd=folder)
    with serving_git(folder / "repository", folder) as running:
        running.token = TOKEN
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(postgres_server, server):
    settings = {"DOCS_EGRESS_ALLOWED": ADDRESS, "DOCS_CERTIFICATE_FILE": str(server.certificate_file)}
    with (
        tempfile.TemporaryDirectory(prefix="pr") as folder,
        clone(postgres_server) as database,
    ):
        async with running_nats(Path(folder)) as nats_url:
            with running_platform(database, nats_url, Path(folder), docs=settings) as started:
                yield started


@pytest_asyncio.fixture(loop_scope="module")
async def owner(platform, server):
    """Of a tenant with the remote source sources/shop."""
    tenant = platform.database.create_tenant(f"t-{uuid4().hex[:12]}")
    async with connected(platform.address, bearer(tenant.api_key)) as client:
        shop = sources.Source(remote_uri=f"https://{ADDRESS}:{server.port}/private")
        await client.sources.CreateSource(sources.CreateSourceRequest(source_id="shop", source=shop))
        yield client


async def put(client, token=TOKEN, username="", name="sources/shop"):
    request = sources.SetSourceCredentialRequest(name=name, username=username, token=token)
    return await client.sources.SetSourceCredential(request)


async def indexed(client):
    """How the index step of a new task ended."""
    task = await client.tasks.CreateTask(new_task(source="sources/shop"))
    events = await first_events(client, task, 3)
    if events[-1].step.state == api.STEP_STATE_SUCCEEDED:
        await client.tasks.CancelTask(api.CancelTaskRequest(name=task.name))
    return events[-1].step


async def test_a_private_repository_is_indexed_once_its_credential_is_stored(owner, server):
    refused = (await indexed(owner)).failure
    assert (refused.reason, "remote_uri" in refused.message) == ("INVALID_INPUT", True)
    assert "morningai source credential set" in refused.remedy
    told = await put(owner)
    assert (told.credential.username, told.credential.HasField("set_time")) == ("git", True)
    step = await indexed(owner)
    assert (step.state, step.step) == (api.STEP_STATE_SUCCEEDED, "index")
    found = await owner.sources.GetSource(sources.GetSourceRequest(name="sources/shop"))
    assert (found.file_count, found.credential) == (1, told.credential)


async def test_a_wrong_credential_fails_the_step_with_its_field_and_remedy(owner):
    await put(owner, WRONG)
    failure = (await indexed(owner)).failure
    assert failure.reason == "INVALID_INPUT"
    assert failure.message.startswith(f"credential: {ADDRESS} does not accept")
    assert "morningai source credential set" in failure.remedy


async def test_a_cleared_credential_is_used_no_more(owner):
    await put(owner)
    cleared = await owner.sources.ClearSourceCredential(sources.ClearSourceCredentialRequest(name="sources/shop"))
    assert not cleared.HasField("credential")
    assert "remote_uri" in (await indexed(owner)).failure.message


CHANGE = [api.TASK_KIND_CHANGE]


def to_deliver(branch="", **task):
    return new_task(**{"source": "sources/shop", "kinds": CHANGE, "delivery": api.Delivery(branch=branch)} | task)


async def test_a_change_of_a_source_with_a_remote_may_be_delivered(owner):
    given = await owner.tasks.CreateTask(to_deliver("fix/rounding"))
    assert given.delivery == api.Delivery(branch="fix/rounding")
    own = await owner.tasks.CreateTask(to_deliver())
    assert own.delivery.branch == f"morningai/{own.name.removeprefix('tasks/')}"
    read = await owner.tasks.GetTask(api.GetTaskRequest(name=own.name))
    assert read.delivery == own.delivery


async def test_a_request_for_a_delivery_is_the_same_request_only_with_the_same_branch(owner):
    request = to_deliver(request_id=uuid4())
    accepted = await owner.tasks.CreateTask(request)
    assert (await owner.tasks.CreateTask(request)).name == accepted.name
    for other in (to_deliver("fix/x", request_id=request.request_id), new_task(request_id=request.request_id)):
        other.task.source, other.task.kinds[:] = "sources/shop", CHANGE
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await owner.tasks.CreateTask(other)
        assert field_of(refused.value) == "request_id"


WRONG_DELIVERIES = {
    "of no change": (to_deliver(kinds=[api.TASK_KIND_ANSWER]), "task.delivery", "Ask for the kind change"),
    "to no branch": (to_deliver("a..b"), "task.delivery.branch", "Use at most 200"),
    "to an option": (to_deliver("--force"), "task.delivery.branch", "Use at most 200"),
}


@pytest.mark.parametrize("kind", WRONG_DELIVERIES)
async def test_what_cannot_be_delivered_is_refused_by_its_field(owner, kind):
    request, field, remedy = WRONG_DELIVERIES[kind]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await owner.tasks.CreateTask(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (field_of(refused.value), remedy_of(refused.value).startswith(remedy)) == (field, True)


async def test_a_change_of_an_uploaded_source_is_delivered_nowhere(owner, tmp_path):
    await upload(owner, await make_bundle(tmp_path))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await owner.tasks.CreateTask(to_deliver(source="sources/small"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(refused.value) == "task.delivery"
    assert "has no remote to push to" in refused.value.details()
    assert "morningai source add NAME URL" in remedy_of(refused.value)


async def test_another_tenant_neither_sets_nor_clears_nor_uses_it(owner, platform, server):
    await put(owner)
    tenant = platform.database.create_tenant(f"t-{uuid4().hex[:12]}")
    async with connected(platform.address, bearer(tenant.api_key)) as stranger:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await put(stranger, WRONG)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stranger.sources.ClearSourceCredential(sources.ClearSourceCredentialRequest(name="sources/shop"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        shop = sources.Source(remote_uri=f"https://{ADDRESS}:{server.port}/private")
        own = await stranger.sources.CreateSource(sources.CreateSourceRequest(source_id="shop", source=shop))
        assert not own.HasField("credential")
        assert "wants a credential" in (await indexed(stranger)).failure.message
    assert (await indexed(owner)).state == api.STEP_STATE_SUCCEEDED


async def test_who_may_write_sources_may_not_set_their_credentials(owner, platform):
    scopes = ["sources.read", "sources.write", "tasks.read", "tasks.write"]
    key = keys.ApiKey(display_name="a member's", scopes=scopes)
    made = await owner.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=key))
    async with connected(platform.address, bearer(made.key)) as member:
        with pytest.raises(grpc.aio.AioRpcError, match=r"secrets\.write") as refused:
            await put(member)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


WRONG_REQUESTS = {
    "no token": ("token", ""),
    "a short token": ("token", "1234567"),
    "a token of two lines": ("token", f"{TOKEN}\n{TOKEN}"),
    "a token with an accent": ("token", f"{TOKEN}\u00e9"),
    "a long token": ("token", "x" * 3001),
    "a username with a colon": ("username", "ada:x"),
    "a username of two lines": ("username", "ada\nx"),
}


@pytest.mark.parametrize("wrong", WRONG_REQUESTS)
async def test_what_git_cannot_send_is_refused_by_its_field_and_not_repeated(owner, wrong):
    name, value = WRONG_REQUESTS[wrong]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await put(owner, **{name: value})
    assert (refused.value.code(), field_of(refused.value)) == (grpc.StatusCode.INVALID_ARGUMENT, name)
    assert TOKEN not in str(refused.value)


async def test_an_uploaded_source_takes_no_credential(owner, tmp_path):
    await upload(owner, await make_bundle(tmp_path))
    with pytest.raises(grpc.aio.AioRpcError, match="no https remote") as refused:
        await put(owner, name="sources/small")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_who_set_and_cleared_it_is_in_the_audit_log(owner):
    await put(owner, username="deploy")
    await owner.sources.ClearSourceCredential(sources.ClearSourceCredentialRequest(name="sources/shop"))
    listed = (await owner.audit.ListAuditEntries(audit.ListAuditEntriesRequest())).entries
    found = [entry for entry in listed if entry.resource == "sources/shop"]
    assert [entry.action for entry in found] == ["sources.clear_credential", "sources.set_credential"]
    assert MessageToDict(found[-1].details) == {"host": ADDRESS, "username": "deploy"}


async def test_a_token_is_in_no_row_log_process_or_file(owner, platform, server):
    await put(owner)
    assert (await indexed(owner)).state == api.STEP_STATE_SUCCEEDED
    await put(owner, WRONG)
    assert (await indexed(owner)).state == api.STEP_STATE_FAILED
    rows = [
        str(row[0]).encode()
        for (table,) in platform.database.rows(ALL_TABLES)
        for row in platform.database.rows(f"SELECT t::text FROM {table} AS t")
    ]
    files = [path.read_bytes() for path in platform.folder.rglob("*") if path.is_file()]
    assert any(b"The private shop" in row for row in rows)
    assert any(b"work.attempt.failed" in file for file in files)
    assert any(b"git-remote-https" in process for process in server.processes)
    spellings = [spelling for token in (TOKEN, WRONG) for spelling in spellings_of(token)]
    for shown in (rows, files, server.processes):
        assert [spelling for spelling in spellings if any(spelling in one for one in shown)] == []


def spellings_of(token):
    header = base64.b64encode(f"git:{token}".encode())
    return token.encode(), token.encode().hex().encode(), header
