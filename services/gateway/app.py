"""Wires the gateway: the one public door."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from morningai.api.answers.v1 import answers_pb2
from morningai.api.changes.v1 import changes_pb2
from morningai.api.documents.v1 import documents_pb2
from morningai.api.faqs.v1 import faqs_pb2
from morningai.api.schedules.v1 import schedules_pb2_grpc
from morningai.api.sources.v1 import sources_pb2
from morningai.api.subscriptions.v1 import subscriptions_pb2_grpc
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.api.tenants.v1 import (
    audit_pb2,
    dead_letters_pb2,
    keys_pb2,
    members_pb2,
    models_pb2,
    policies_pb2,
    tenants_pb2,
    usage_pb2,
)
from morningai.bus.pulses import Pulses
from morningai.bus.retention import Rule, ended_tasks
from morningai.db.session import Database
from morningai.egress import AllowList, EgressGuard
from morningai.rpc.call import MethodRule
from morningai.rpc.channel import make_channel
from morningai.rpc.limits import Limits
from morningai.rpc.listening import Listening, listening_of
from morningai.rpc.refusals import record_refusal
from morningai.rpc.server import Metadata, RpcServer
from morningai.rpc.tls import certificate_files
from morningai.secrets.key_ring import KeyRing
from morningai.secrets.vault import Vault
from morningai.service import Service, make_database
from services.gateway.authentication import Authenticator
from services.gateway.event_feed import EventFeed
from services.gateway.event_tokens import EventTokens
from services.gateway.feed import Feed
from services.gateway.forwarder import Forwarder
from services.gateway.grpc_api.events import EventWatches
from services.gateway.grpc_api.schedules import ScheduleServicer
from services.gateway.grpc_api.tasks import TaskServicer
from services.gateway.grpc_api.webhooks import SubscriptionServicer
from services.gateway.handlers import make_handlers
from services.gateway.key_uses import KeyUses
from services.gateway.limiter import Limiter
from services.gateway.poster import Poster
from services.gateway.sender import Sender
from services.gateway.settings import Settings

NAME = "gateway"
OWN = (
    "morningai.api.tasks.v1.TaskService",
    "morningai.api.schedules.v1.ScheduleService",
    "morningai.api.subscriptions.v1.SubscriptionService",
)


ROUTES = {
    "morningai.api.sources.v1.SourceService": "docs",
    "morningai.api.documents.v1.DocumentService": "docs",
    "morningai.api.answers.v1.AnswerService": "faqgen",
    "morningai.api.faqs.v1.FaqService": "faqgen",
    "morningai.api.changes.v1.ChangeService": "codegen",
    "morningai.api.tenants.v1.TenantService": "tenancy",
    "morningai.api.tenants.v1.ApiKeyService": "tenancy",
    "morningai.api.tenants.v1.MemberService": "tenancy",
    "morningai.api.tenants.v1.AuditService": "tenancy",
    "morningai.api.tenants.v1.UsageService": "tenancy",
    "morningai.api.tenants.v1.ModelEndpointService": "tenancy",
    "morningai.api.tenants.v1.DeadLetterService": "tenancy",
    "morningai.api.tenants.v1.PolicyService": "tenancy",
}
# A service is found by its name once the module with its descriptor is loaded.
DESCRIPTORS = (
    *(answers_pb2, changes_pb2, documents_pb2, faqs_pb2, sources_pb2),
    *(audit_pb2, dead_letters_pb2, keys_pb2, members_pb2, models_pb2, policies_pb2, tenants_pb2, usage_pb2),
)

SENDER_CONNECTIONS = 4


def make_poster(settings: Settings) -> Poster:
    return Poster(
        EgressGuard(allowed=AllowList.parse(settings.webhook_egress_allowed.split(","))),
        timeout_seconds=settings.webhook_timeout_seconds,
        certificate_file=settings.webhook_certificate_file,
    )


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
    pulses = Pulses(NAME)
    feed = Feed(tell_others=pulses.send)
    pulses.on_pulse = feed.changed
    key_uses = KeyUses(database, write_seconds=settings.key_use_seconds)
    authenticator = Authenticator(database, key_uses, channels["tenancy"], cache_seconds=settings.key_cache_seconds)
    limiter = Limiter(database)
    rpc = RpcServer(
        settings.grpc_address,
        [*OWN, *routes],
        prove=authenticator.prove,
        admit=limiter.admit,
        refuse=partial(_refuse, authenticator, limiter),
        on_refusal=partial(record_refusal, database),
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
    schedules = ScheduleServicer(database, docs=channels["docs"])
    schedules_pb2_grpc.add_ScheduleServiceServicer_to_server(schedules, rpc.server)
    keys = KeyRing.parse(settings.secret_keys.get_secret_value())
    vault = Vault(keys)
    poster = make_poster(settings)
    sender = Sender(Database(settings.sender_dsn, max_connections=SENDER_CONNECTIONS), poster, vault, settings)
    subscriptions = SubscriptionServicer(
        database,
        vault,
        poster,
        watches=EventWatches(database, EventFeed(database, feed), EventTokens(keys), prove=authenticator.prove),
        wake=sender.wake,
        overlap_seconds=settings.webhook_overlap_seconds,
    )
    subscriptions_pb2_grpc.add_SubscriptionServiceServicer_to_server(subscriptions, rpc.server)
    rpc.server.add_generic_rpc_handlers((Forwarder(routes),))
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(feed, sender.wake),
        rpc=rpc,
        background=[key_uses.run, sender.run],
        closing=[key_uses.write, *(partial(channel.close, None) for channel in channels.values())],
        retention=make_retention(settings),
        pulses=pulses,
        on_tick=feed.ticked,
    )


def make_retention(settings: Settings) -> list[Rule]:
    return [
        Rule("gateway.sweep_tasks", ended_tasks(settings)),
        Rule("gateway.sweep_webhook_deliveries", timedelta(days=settings.webhook_delivery_days)),
    ]


def _refuse(authenticator: Authenticator, limiter: Limiter, metadata: Metadata, rule: MethodRule) -> None:
    grant = authenticator.known_grant(metadata)
    if grant is not None:
        limiter.refuse(grant, rule)
