"""Wires faqgen."""

from __future__ import annotations

from functools import partial

from morningai.api.answers.v1 import answers_pb2_grpc
from morningai.api.faqs.v1 import faqs_pb2_grpc
from morningai.llm import Models, ModelSettings, load_prompt
from morningai.rpc.channel import make_channel
from morningai.rpc.listening import listening_of
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database
from services.faqgen.domain import ANSWER_PROMPT, FAQ_PROMPT
from services.faqgen.grpc_api import AnswerServicer, FaqServicer
from services.faqgen.handlers import make_handlers
from services.faqgen.nodes import Library
from services.faqgen.settings import Settings
from services.faqgen.workflow import Writer

NAME = "faqgen"
RPC_SERVICES = ("morningai.api.answers.v1.AnswerService", "morningai.api.faqs.v1.FaqService")


def make_service(settings: Settings) -> Service:
    database, relay_holder = make_database(settings)
    docs = make_channel(settings.docs_address, settings)
    tenancy = make_channel(settings.tenancy_address, settings)
    writer = Writer(
        library=Library(docs, timeout_seconds=settings.docs_timeout_seconds),
        models=Models(ModelSettings(), tenancy),
        answer_template=load_prompt("services.faqgen", *ANSWER_PROMPT),
        faq_template=load_prompt("services.faqgen", *FAQ_PROMPT),
    )
    rpc = RpcServer(settings.grpc_address, RPC_SERVICES, listening=listening_of(settings))
    answers_pb2_grpc.add_AnswerServiceServicer_to_server(AnswerServicer(database), rpc.server)
    faqs_pb2_grpc.add_FaqServiceServicer_to_server(FaqServicer(database), rpc.server)
    return Service(
        NAME,
        settings,
        database,
        relay_holder,
        handlers=make_handlers(writer),
        rpc=rpc,
        closing=[partial(docs.close, None), partial(tenancy.close, None)],
    )
