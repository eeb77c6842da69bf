"""Wires codegen."""

from __future__ import annotations

from functools import partial

from morningai.api.changes.v1 import changes_pb2_grpc
from morningai.bus.retention import Rule, ended_work
from morningai.llm import Models, ModelSettings
from morningai.rpc.channel import make_channel
from morningai.rpc.listening import listening_of
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from morningai.work_dir import remove_scratch, take_work_dir
from services.codegen.grpc_api import ChangeServicer
from services.codegen.handlers import Workshop, make_handlers
from services.codegen.settings import Settings

NAME = "codegen"
SCRATCH = ("tmp*", "sandbox/tmp*", *(f"sandbox/{step}-*" for step in ("change", "trial", "verify", "run")))


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    take_work_dir(settings.work_dir)
    remove_scratch(settings.work_dir, *SCRATCH)
    docs = make_channel(settings.docs_address, settings)
    tenancy = make_channel(settings.tenancy_address, settings)
    workshop = Workshop(database, docs, Models(ModelSettings(), tenancy), settings)
    rpc = RpcServer(settings.grpc_address, ["morningai.api.changes.v1.ChangeService"], listening=listening_of(settings))
    changes_pb2_grpc.add_ChangeServiceServicer_to_server(ChangeServicer(database), rpc.server)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(workshop),
        rpc=rpc,
        closing=[partial(docs.close, None), partial(tenancy.close, None)],
        retention=make_retention(settings),
    )


def make_retention(settings: Settings) -> list[Rule]:
    return [Rule("codegen.sweep_steps", ended_work(settings))]
