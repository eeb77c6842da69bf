"""Wires tenancy."""

from __future__ import annotations

from morningai.api.tenants.v1 import audit_pb2_grpc, keys_pb2_grpc, tenants_pb2_grpc
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from services.tenancy.grpc_api.audit import AuditServicer
from services.tenancy.grpc_api.keys import ApiKeyServicer
from services.tenancy.grpc_api.tenants import TenantServicer
from services.tenancy.settings import Settings

NAME = "tenancy"
PACKAGE = "morningai.api.tenants.v1"
RPC_SERVICES = ("TenantService", "ApiKeyService", "AuditService")


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    rpc = RpcServer(settings.grpc_address, [f"{PACKAGE}.{name}" for name in RPC_SERVICES])
    tenants_pb2_grpc.add_TenantServiceServicer_to_server(TenantServicer(database), rpc.server)
    keys_pb2_grpc.add_ApiKeyServiceServicer_to_server(ApiKeyServicer(database), rpc.server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(database), rpc.server)
    return Service(NAME, settings, database, relay_holder, handlers={}, rpc=rpc)
