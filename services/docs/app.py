"""Wires docs."""

from __future__ import annotations

from functools import partial

from morningai.api.documents.v1 import documents_pb2_grpc
from morningai.api.search.v1 import search_pb2_grpc
from morningai.api.sources.v1 import sources_pb2_grpc
from morningai.bus.retention import Rule, ended_work
from morningai.llm import Models, ModelSettings, load_prompt
from morningai.rpc.channel import make_channel
from morningai.rpc.listening import listening_of
from morningai.rpc.refusals import record_refusal
from morningai.rpc.server import RpcServer
from morningai.secrets.key_ring import KeyRing
from morningai.secrets.vault import Vault
from morningai.service import Service, make_database
from morningai.work_dir import remove_scratch, take_work_dir
from services.docs.git.version import check_git
from services.docs.grpc_api import DocumentServicer, SearchServicer, SourceServicer
from services.docs.handlers import make_handlers
from services.docs.settings import Settings
from services.docs.sources import SourceStores
from services.docs.workflow import Writer

NAME = "docs"
RPC_SERVICES = (
    "morningai.api.sources.v1.SourceService",
    "morningai.api.documents.v1.DocumentService",
    "morningai.api.search.v1.SearchService",
)
DOCUMENT_PROMPT = ("document", 1)


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    vault = Vault(KeyRing.parse(settings.secret_keys.get_secret_value()))
    take_work_dir(settings.work_dir)
    stores = SourceStores(settings, vault)
    remove_scratch(stores.folder, "tmp*")
    tenancy = make_channel(settings.tenancy_address, settings)
    writer = Writer(Models(ModelSettings(), tenancy), load_prompt("services.docs", *DOCUMENT_PROMPT))
    rpc = RpcServer(
        settings.grpc_address,
        RPC_SERVICES,
        on_refusal=partial(record_refusal, database),
        listening=listening_of(settings),
    )
    sources_pb2_grpc.add_SourceServiceServicer_to_server(SourceServicer(database, stores, vault, settings), rpc.server)
    documents_pb2_grpc.add_DocumentServiceServicer_to_server(DocumentServicer(database), rpc.server)
    search_pb2_grpc.add_SearchServiceServicer_to_server(SearchServicer(database, stores), rpc.server)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(database, stores, writer),
        rpc=rpc,
        starting=[check_git],
        closing=[partial(tenancy.close, None)],
        retention=make_retention(settings),
    )


def make_retention(settings: Settings) -> list[Rule]:
    return [Rule("docs.sweep_patches", ended_work(settings))]
