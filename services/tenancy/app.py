"""Wires tenancy."""

from __future__ import annotations

from morningai.api.tenants.v1 import tenants_pb2_grpc
from morningai.rpc.listening import listening_of
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from services.tenancy.grpc_api.tenants import TenantServicer
from services.tenancy.settings import Settings

NAME = "tenancy"


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    rpc = RpcServer(settings.grpc_address, ["morningai.api.tenants.v1.TenantService"], listening=listening_of(settings))
    tenants_pb2_grpc.add_TenantServiceServicer_to_server(TenantServicer(database), rpc.server)
    return Service(NAME, settings, database, relay_holder, handlers={}, rpc=rpc)
