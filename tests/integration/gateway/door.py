"""The gateway's own door in the test's process, by its settings and wiring, without the bus and other services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

from morningai.secrets.key_ring import make_key
from services.gateway.app import make_service
from services.gateway.settings import Settings
from tests.conftest import PASSWORD, TestDatabase, TestTenant

OTHERS = ("orchestrator", "docs", "faqgen", "codegen", "tenancy")
INSERT_TASK = """
INSERT INTO gateway.tasks (tenant_id, task_id, request_id, principal, instruction, source, kinds, state, trace_id)
VALUES (%s, %s, %s, 'key:mk_test', %s, 'sources/small', '{answer}', 'running', %s) RETURNING task_id
"""


@asynccontextmanager
async def open_door(database: TestDatabase, folder: Path, **settings: object) -> AsyncIterator[str]:
    """The address."""
    values: dict[str, object] = {
        "database_dsn": database.dsn("gateway_app"),
        "relay_dsn": database.dsn("gateway_relay"),
        "sender_dsn": database.dsn("gateway_sender"),
        "secret_keys": make_key("k1"),
        "nats_url": "nats://nowhere:1",
        "nats_user": "gateway",
        "nats_password": PASSWORD,
        "grpc_address": f"unix:{folder}/door.sock",
        "work_dir": folder,
        **{f"{name}_address": f"unix:{folder}/{name}.sock" for name in OTHERS},
        **settings,
    }
    service = make_service(Settings.model_validate(values))
    await service.database.open()
    await service.rpc.start()
    yield str(values["grpc_address"])
    await service.rpc.stop(0)
    for close in service.closing:
        await close()
    await service.database.close()


def insert_task(tenant: TestTenant, instruction: str = "what is it?") -> str:
    """The name of a task that runs for ever, as if it had been accepted."""
    task_id = tenant.database.rows(INSERT_TASK, tenant.tenant_id, uuid4(), uuid4(), instruction, uuid4().hex)[0][0]
    return f"tasks/{UUID(str(task_id))}"
