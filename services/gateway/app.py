"""Wires the gateway: the one public door."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from morningai.api.answers.v1 import answers_pb2
from morningai.api.changes.v1 import changes_pb2
from morningai.api.documents.v1 import documents_pb2
from morningai.api.faqs.v1 import faqs_pb2
from morningai.api.sources.v1 import sources_pb2
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.api.tenants.v1 import tenants_pb2
from morningai.rpc.channel import make_channel
from morningai.rpc.limits import Limits
from morningai.rpc.listening import Listening, listening_of
from morningai.rpc.server import RpcServer
from morningai.rpc.tls import certificate_files
from morningai.service import Service, make_database
from services.gateway.authentication import Authenticator
from services.gateway.feed import Feed
from services.gateway.forwarder import Forwarder
from services.gateway.grpc_api import TaskServicer
from services.gateway.handlers import make_handlers
from services.gateway.settings import Settings

NAME = "gateway"


ROUTES = {
    "morningai.api.sources.v1.SourceService": "docs",
    "morningai.api.documents.v1.DocumentService": "docs",
    "morningai.api.answers.v1.AnswerService": "faqgen",
    "morningai.api.faqs.v1.FaqService": "faqgen",
    "morningai.api.changes.v1.ChangeService": "codegen",
    "morningai.api.tenants.v1.TenantService": "tenancy",
}
# A service is found by its name once the module with its descriptor is loaded.
DESCRIPTORS = (answers_pb2, changes_pb2, documents_pb2, faqs_pb2, sources_pb2, tenants_pb2)


def _listening(settings: Settings) -> Listening:
    return replace(
        listening_of(settings),
        certificates=certificate_files(
            "TLS", settings.tls_certificate_file, settings.tls_key_file, settings.tls_ca_file
        ),
        reflection=settings.reflection,
        limits=Limits(
            request_bytes=settings.largest_request_bytes,
            response_bytes=settings.largest_response_bytes,
            metadata_bytes=settings.largest_metadata_bytes,
            streams_per_connection=settings.streams_per_connection,
            concurrent_calls=settings.concurrent_calls,
            calls_per_tenant=settings.calls_per_tenant,
            watches_per_tenant=settings.watches_per_tenant,
            shortest_ping_seconds=settings.shortest_ping_seconds,
            connection_age_seconds=settings.connection_age_seconds,
            grace_seconds=settings.grace_seconds,
            connection_idle_seconds=settings.connection_idle_seconds,
            keepalive_seconds=settings.keepalive_seconds,
        ),
    )


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    channels = {
        name: make_channel(getattr(settings, f"{name}_address"), settings)
        for name in ("orchestrator", "docs", "faqgen", "codegen", "tenancy")
    }
    routes = {service: channels[name] for service, name in ROUTES.items()}
    feed = Feed()
    authenticator = Authenticator(database, cache_seconds=settings.key_cache_seconds)
    rpc = RpcServer(
        settings.grpc_address,
        ["morningai.api.tasks.v1.TaskService", *routes],
        prove=authenticator.prove,
        listening=_listening(settings),
        public=True,
    )
    servicer = TaskServicer(
        database,
        feed,
        prove=authenticator.prove,
        docs=channels["docs"],
        orchestrator=channels["orchestrator"],
    )
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(servicer, rpc.server)
    rpc.server.add_generic_rpc_handlers((Forwarder(routes),))
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(feed),
        rpc=rpc,
        closing=[partial(channel.close, None) for channel in channels.values()],
    )
