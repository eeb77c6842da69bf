"""Wires tenancy."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from morningai.api.tenants.v1 import (
    audit_pb2_grpc,
    dead_letters_pb2_grpc,
    identities_pb2_grpc,
    keys_pb2_grpc,
    members_pb2_grpc,
    models_pb2_grpc,
    policies_pb2_grpc,
    tenants_pb2_grpc,
    usage_pb2_grpc,
)
from morningai.bus.retention import Rule, ended_tasks
from morningai.db.session import Database
from morningai.egress import AllowList, EgressGuard
from morningai.rpc.listening import listening_of
from morningai.rpc.refusals import record_refusal
from morningai.rpc.server import RpcServer
from morningai.secrets.key_ring import KeyRing
from morningai.secrets.vault import Vault
from morningai.service import Service, make_database
from services.tenancy.grpc_api.audit import AuditServicer
from services.tenancy.grpc_api.dead_letters import DeadLetterServicer
from services.tenancy.grpc_api.identities import IdentityServicer
from services.tenancy.grpc_api.keys import ApiKeyServicer
from services.tenancy.grpc_api.members import MemberServicer
from services.tenancy.grpc_api.model_endpoints import ModelEndpointServicer
from services.tenancy.grpc_api.policies import PolicyServicer
from services.tenancy.grpc_api.tenants import TenantServicer
from services.tenancy.grpc_api.usage import UsageServicer
from services.tenancy.key_sets import KeySets
from services.tenancy.settings import Settings
from services.tenancy.subscribers.door import Door
from services.tenancy.tokens import TokenVerifier
from services.tenancy.workflow import sweep_reservations

NAME = "tenancy"
PACKAGE = "morningai.api.tenants.v1"
RPC_SERVICES = (
    *("TenantService", "ApiKeyService", "MemberService", "IdentityService", "AuditService", "UsageService"),
    *("ModelEndpointService", "DeadLetterService", "PolicyService"),
)


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    services = [f"{PACKAGE}.{name}" for name in RPC_SERVICES]
    rpc = RpcServer(
        settings.grpc_address,
        services,
        on_refusal=partial(record_refusal, database),
        listening=listening_of(settings),
    )
    identities = IdentityServicer(database, make_verifier(settings))
    tenants_pb2_grpc.add_TenantServiceServicer_to_server(TenantServicer(database), rpc.server)
    keys_pb2_grpc.add_ApiKeyServiceServicer_to_server(ApiKeyServicer(database), rpc.server)
    members_pb2_grpc.add_MemberServiceServicer_to_server(MemberServicer(database), rpc.server)
    identities_pb2_grpc.add_IdentityServiceServicer_to_server(identities, rpc.server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(database), rpc.server)
    usage_pb2_grpc.add_UsageServiceServicer_to_server(UsageServicer(database), rpc.server)
    models_pb2_grpc.add_ModelEndpointServiceServicer_to_server(make_model_endpoints(settings, database), rpc.server)
    dead_letters_pb2_grpc.add_DeadLetterServiceServicer_to_server(DeadLetterServicer(database), rpc.server)
    policies_pb2_grpc.add_PolicyServiceServicer_to_server(PolicyServicer(database), rpc.server)
    door = Door(settings, database)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers={},
        rpc=rpc,
        background=[door.run, partial(sweep_reservations, database, every_seconds=settings.sweep_seconds)],
        retention=make_retention(settings),
    )


def make_retention(settings: Settings) -> list[Rule]:
    return [
        Rule("tenancy.sweep_usage", timedelta(days=settings.usage_days)),
        Rule("tenancy.sweep_ended_reservations", timedelta(days=settings.inbox_days)),
        Rule("tenancy.sweep_lifted_limits", ended_tasks(settings)),
    ]


def make_model_endpoints(settings: Settings, database: Database) -> ModelEndpointServicer:
    return ModelEndpointServicer(
        database,
        Vault(KeyRing.parse(settings.secret_keys.get_secret_value())),
        EgressGuard(AllowList.parse(settings.model_egress_allowed.split(","))),
    )


def make_verifier(settings: Settings) -> TokenVerifier:
    key_sets = KeySets(
        EgressGuard(AllowList.parse(settings.identity_egress_allowed.split(","))),
        fresh_seconds=settings.identity_keys_seconds,
        refetch_seconds=settings.identity_refetch_seconds,
    )
    leeway = timedelta(seconds=settings.identity_leeway_seconds)
    return TokenVerifier(settings.identity_issuers, key_sets, leeway=leeway)
