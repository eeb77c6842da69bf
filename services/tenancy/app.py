"""Wires tenancy."""

from __future__ import annotations

from functools import partial

from morningai.api.tenants.v1 import tenants_pb2_grpc, usage_pb2_grpc
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from services.tenancy.grpc_api.tenants import TenantServicer
from services.tenancy.grpc_api.usage import UsageServicer
from services.tenancy.settings import Settings
from services.tenancy.workflow import sweep_reservations

NAME = "tenancy"
RPC_SERVICES = ("morningai.api.tenants.v1.TenantService", "morningai.api.tenants.v1.UsageService")


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    rpc = RpcServer(settings.grpc_address, RPC_SERVICES)
    tenants_pb2_grpc.add_TenantServiceServicer_to_server(TenantServicer(database), rpc.server)
    usage_pb2_grpc.add_UsageServiceServicer_to_server(UsageServicer(database), rpc.server)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers={},
        rpc=rpc,
        background=[partial(sweep_reservations, database, every_seconds=settings.sweep_seconds)],
    )
