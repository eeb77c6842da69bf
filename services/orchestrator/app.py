"""Wires the orchestrator."""

from __future__ import annotations

from functools import partial

from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.bus.retention import Rule, ended_tasks, ended_work
from morningai.rpc.listening import listening_of
from morningai.rpc.refusals import record_refusal
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from services.orchestrator.grpc_api import TaskServicer
from services.orchestrator.handlers import make_handlers
from services.orchestrator.repository import set_concurrency
from services.orchestrator.settings import Settings

NAME = "orchestrator"


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    rpc = RpcServer(
        settings.grpc_address,
        ["morningai.api.tasks.v1.TaskService"],
        on_refusal=partial(record_refusal, database),
        listening=listening_of(settings),
    )
    servicer = TaskServicer(database)  # type: ignore[abstract]  # the gateway serves the other methods
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(servicer, rpc.server)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(settings),
        rpc=rpc,
        starting=[partial(set_concurrency, database, settings.concurrent_tasks)],
        retention=make_retention(settings),
    )


def make_retention(settings: Settings) -> list[Rule]:
    return [
        Rule("orchestrator.sweep_checkpoints", ended_work(settings)),
        Rule("orchestrator.sweep_tasks", ended_tasks(settings)),
        Rule("kernel.sweep_tasks", ended_tasks(settings)),
    ]
