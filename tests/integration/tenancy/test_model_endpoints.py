"""Who opens a tenant's model endpoint behind the door, and what PostgreSQL itself holds callers to."""

from __future__ import annotations

from uuid import uuid4

import grpc
import psycopg
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tenants.v1 import models_pb2 as api
from morningai.api.tenants.v1 import models_pb2_grpc
from morningai.bus import outbox
from morningai.db.session import Database
from morningai.egress import AllowList, EgressGuard
from morningai.rpc.channel import make_channel, proof_metadata
from morningai.rpc.server import RpcServer
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.vault import Vault
from services.tenancy.grpc_api.model_endpoints import ModelEndpointServicer
from tests.integration.tenancy.test_key_functions import narrowed, session

URL = "https://llm.example.org/v1"
SET = "SELECT tenancy.set_model_endpoint('any', 'https://x/v1', 'm', 512, NULL)"
CLEAR = "SELECT tenancy.clear_model_endpoint('any')"


@pytest.fixture
async def service(database, tmp_path):
    """Tenancy's, as other services call it."""
    pool = Database(database.dsn("tenancy_app"))
    await pool.open()
    server = RpcServer(f"unix:{tmp_path}/t.sock", ["morningai.api.tenants.v1.ModelEndpointService"])
    vault = Vault(KeyRing.parse(make_key("k1")))
    servicer = ModelEndpointServicer(pool, vault, EgressGuard(AllowList.parse([])))
    models_pb2_grpc.add_ModelEndpointServiceServicer_to_server(servicer, server.server)
    await server.start()
    async with make_channel(f"unix:{tmp_path}/t.sock") as channel:
        yield models_pb2_grpc.ModelEndpointServiceStub(channel)
    await server.stop(0)
    await pool.close()


async def put(service, tenant, *, kind="any", key="its-key"):
    endpoint = api.ModelEndpoint(name=f"modelEndpoints/{kind}", base_url=URL, model="m")
    request = api.SetModelEndpointRequest(model_endpoint=endpoint, api_key=key)
    return await service.SetModelEndpoint(request, metadata=proof_metadata(tenant.grant()))


async def open_with(service, proof, kind="answer"):
    return await service.OpenModelEndpoint(api.OpenModelEndpointRequest(kind=kind), metadata=proof_metadata(proof))


async def refused(service, proof):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await open_with(service, proof)
    assert "its-key" not in str(error.value)
    return error.value.code()


async def sealed(tenant):
    """The seal of a command of a running task, and the task."""
    task_id = tenant.open_task(uuid4())
    pool = Database(tenant.database.dsn("orchestrator_app"))
    await pool.open()
    async with pool.tenant_session(tenant.grant()) as opened:
        message_id = await outbox.emit(opened, events.GenerateAnswer(instruction="what?"), task_id=task_id, to="faqgen")
    await pool.close()
    (seal,) = tenant.database.rows("SELECT seal FROM orchestrator.outbox WHERE id = %s", message_id)[0]
    return str(seal), task_id


async def test_a_seal_of_a_running_task_opens_its_own_tenant_s_endpoint_and_nothing_else_does(
    service, database, tenant
):
    other = database.create_tenant("other")
    await put(service, tenant)
    seal, task_id = await sealed(tenant)
    opened = await open_with(service, seal)
    assert (opened.model_endpoint.base_url, opened.api_key) == (URL, "its-key")
    assert await refused(service, tenant.grant()) is grpc.StatusCode.PERMISSION_DENIED
    assert await refused(service, seal[:-1] + "!") is grpc.StatusCode.UNAUTHENTICATED
    assert await refused(service, (await sealed(other))[0]) is grpc.StatusCode.NOT_FOUND
    database.execute(f"UPDATE kernel.tasks SET closed_at = now() - interval '1 hour' WHERE task_id = '{task_id}'")
    assert await refused(service, seal) is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_endpoint_of_the_kind_goes_before_that_of_any(service, tenant):
    await put(service, tenant, key="of-any")
    await put(service, tenant, kind="answer", key="of-answers")
    seal, _ = await sealed(tenant)
    assert (await open_with(service, seal)).api_key == "of-answers"
    assert (await open_with(service, seal, "faq")).api_key == "of-any"


@pytest.mark.parametrize("call", [SET, CLEAR])
def test_without_the_scope_no_endpoint_is_administered(tenant, call):
    with (
        session(narrowed(tenant, "tasks.write", "tenants.read")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"secrets\.write"),
    ):
        connection.execute(call)


@pytest.mark.parametrize("call", [SET, CLEAR])
async def test_a_seal_administers_no_endpoint(tenant, call):
    seal, _ = await sealed(tenant)
    with session(tenant, proof=seal) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(call)


@pytest.mark.parametrize("login", ["faqgen_app", "docs_app", "codegen_app"])
async def test_a_worker_learns_that_there_is_an_endpoint_and_reads_none(service, tenant, login):
    await put(service, tenant)
    with session(tenant, login) as connection:
        assert connection.execute("SELECT tenancy.has_model_endpoint('faq')").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM tenancy.model_endpoints")
