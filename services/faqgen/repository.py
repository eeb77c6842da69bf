"""Faqgen's rows: answers, FAQs and their items."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.queries import load_queries
from morningai.db.session import Session
from morningai.errors import NotFound
from morningai.evidence.messages import claim_rows, claims_of_rows
from morningai.evidence.model import Answer, FaqItem
from services.faqgen.domain import Provenance, StoredAnswer, StoredFaq

QUERIES = load_queries(__file__)


async def insert_answer(
    session: Session, *, task_id: UUID, question: str, answer: Answer, markdown: str, provenance: Provenance
) -> UUID:
    row = await session.row(
        QUERIES["insert_answer"],
        {
            "task_id": task_id,
            "question": question,
            "found": answer.found,
            "claims": Jsonb(claim_rows(answer.claims)),
            "searched": list(answer.searched),
            "markdown": markdown,
            "provenance": Jsonb(asdict(provenance)),
        },
    )
    assert row is not None
    return UUID(str(row["answer_id"]))


async def get_answer(session: Session, answer_id: UUID) -> StoredAnswer:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_answer"], {"answer_id": answer_id})
    if row is None:
        raise NotFound("answer", f"answers/{answer_id}")
    answer = Answer(found=row["found"], claims=claims_of_rows(row["claims"]), searched=tuple(row["searched"]))
    return StoredAnswer(
        row["answer_id"], row["question"], answer, row["markdown"], Provenance(**row["provenance"]), row["created_at"]
    )


async def insert_faq(
    session: Session,
    *,
    task_id: UUID,
    source: str,
    items: tuple[FaqItem, ...],
    markdown: str,
    provenance: Provenance,
) -> UUID:
    row = await session.row(
        QUERIES["insert_faq"],
        {"task_id": task_id, "source": source, "markdown": markdown, "provenance": Jsonb(asdict(provenance))},
    )
    assert row is not None
    await session.execute_many(
        QUERIES["insert_faq_item"],
        [
            {
                "faq_id": row["faq_id"],
                "ordinal": ordinal,
                "question": item.question,
                "claims": Jsonb(claim_rows(item.claims)),
            }
            for ordinal, item in enumerate(items)
        ],
    )
    return UUID(str(row["faq_id"]))


async def get_faq(session: Session, faq_id: UUID) -> StoredFaq:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_faq"], {"faq_id": faq_id})
    if row is None:
        raise NotFound("faq", f"faqs/{faq_id}")
    items = [_item(item) for item in await session.rows(QUERIES["list_faq_items"], {"faq_id": faq_id})]
    return StoredFaq(
        row["faq_id"],
        row["source"],
        tuple(items),
        row["markdown"],
        Provenance(**row["provenance"]),
        row["created_at"],
    )


def _item(row: DictRow) -> FaqItem:
    return FaqItem(question=row["question"], claims=claims_of_rows(row["claims"]))
