"""Dead letters of all services, through the functions of PostgreSQL that alone may read and decide them."""

from __future__ import annotations

from typing import LiteralString

from morningai.db.queries import load_queries
from morningai.db.session import Parameters, Session
from services.tenancy.domain.dead_letters import Letter, LetterFilter, LetterKey
from services.tenancy.domain.pages import Page
from services.tenancy.repository.pages import page_parameters

QUERIES = load_queries(__file__)


async def list_letters(session: Session, wanted: LetterFilter, page: Page) -> list[Letter]:
    """Newest first; one more than the page holds, if there is one."""
    rows = await session.rows(QUERIES["list_dead_letters"], {**vars(wanted), **page_parameters(page)})
    return [Letter(**row) for row in rows]


async def list_letters_of_all(session: Session, wanted: LetterFilter, page: Page, *, quarantined: bool) -> list[Letter]:
    """In an operator's session; as `list_letters`."""
    parameters = {**vars(wanted), **page_parameters(page), "quarantined": quarantined}
    return [Letter(**row) for row in await session.rows(QUERIES["list_all_dead_letters"], parameters)]


async def get_letter(session: Session, key: LetterKey) -> Letter | None:
    row = await session.row(QUERIES["get_dead_letter"], key._asdict())
    return Letter(**row) if row else None


async def replay_letter(session: Session, key: LetterKey) -> str:
    return await _outcome(session, QUERIES["replay_dead_letter"], key._asdict())


async def drop_letter(session: Session, key: LetterKey, why: str) -> str:
    return await _outcome(session, QUERIES["drop_dead_letter"], {**key._asdict(), "why": why})


async def drop_quarantined_letter(session: Session, key: LetterKey, why: str) -> str:
    return await _outcome(session, QUERIES["drop_quarantined_letter"], {**key._asdict(), "why": why})


async def _outcome(session: Session, query: LiteralString, parameters: Parameters) -> str:
    row = await session.row(query, parameters)
    assert row is not None
    return str(row["outcome"])
