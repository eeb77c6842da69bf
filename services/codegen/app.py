"""Wires codegen."""

from __future__ import annotations

from functools import partial

from morningai.api.changes.v1 import changes_pb2_grpc
from morningai.llm import ModelClient, ModelSettings, instrument_model_calls
from morningai.rpc.channel import make_channel
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from services.codegen.grpc_api import ChangeServicer
from services.codegen.handlers import Workshop, make_handlers
from services.codegen.settings import Settings

NAME = "codegen"


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    docs = make_channel(settings.docs_address)
    instrument_model_calls()
    workshop = Workshop(database, docs, ModelClient.from_settings(ModelSettings()), settings)
    rpc = RpcServer(settings.grpc_address, ["morningai.api.changes.v1.ChangeService"])
    changes_pb2_grpc.add_ChangeServiceServicer_to_server(ChangeServicer(database), rpc.server)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(workshop),
        rpc=rpc,
        closing=[partial(docs.close, None)],
    )
