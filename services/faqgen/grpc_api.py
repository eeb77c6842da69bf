"""AnswerService and FaqService."""

from __future__ import annotations

from dataclasses import asdict

from morningai.api.answers.v1 import answers_pb2 as answers
from morningai.api.answers.v1 import answers_pb2_grpc
from morningai.api.faqs.v1 import faqs_pb2 as faqs
from morningai.api.faqs.v1 import faqs_pb2_grpc
from morningai.db.session import Database
from morningai.evidence.messages import claim_message
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.names import resource_id
from morningai.rpc.time import timestamp
from services.faqgen import repository
from services.faqgen.domain import Provenance


class AnswerServicer(answers_pb2_grpc.AnswerServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetAnswer(self, request: answers.GetAnswerRequest, context: Context) -> answers.Answer:
        async with rpc_session(self._database) as session:
            stored = await repository.get_answer(session, resource_id("answer", request.name))
        return answers.Answer(
            name=f"answers/{stored.answer_id}",
            question=stored.question,
            found=stored.answer.found,
            claims=[claim_message(claim) for claim in stored.answer.claims],
            searched=stored.answer.searched,
            markdown=stored.markdown,
            provenance=_provenance(stored.provenance),
            create_time=timestamp(stored.created_at),
        )


class FaqServicer(faqs_pb2_grpc.FaqServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetFaq(self, request: faqs.GetFaqRequest, context: Context) -> faqs.Faq:
        async with rpc_session(self._database) as session:
            stored = await repository.get_faq(session, resource_id("faq", request.name))
        name = f"faqs/{stored.faq_id}"
        return faqs.Faq(
            name=name,
            source=stored.source,
            items=[
                faqs.FaqItem(
                    name=f"{name}/items/{number}",
                    question=item.question,
                    claims=[claim_message(claim) for claim in item.claims],
                )
                for number, item in enumerate(stored.items)
            ],
            markdown=stored.markdown,
            provenance=_provenance(stored.provenance),
            create_time=timestamp(stored.created_at),
        )


def _provenance(provenance: Provenance) -> answers.Provenance:
    return answers.Provenance(**asdict(provenance))
