"""DeadLetterService."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError

from morningai.api.tenants.v1 import dead_letters_pb2 as api
from morningai.api.tenants.v1 import dead_letters_pb2_grpc
from morningai.bus.catalogue import BY_NAME
from morningai.db.session import Database, Session
from morningai.errors import InvalidInput, NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import timestamp
from services.tenancy.domain.dead_letters import (
    LETTER_ID,
    NO_TENANT,
    Letter,
    LetterFilter,
    State,
    check_dropped,
    check_filter,
    check_replayed,
    check_why,
    parse_name,
)
from services.tenancy.domain.pages import Page, Place, check_page
from services.tenancy.repository import dead_letters as repository

STATES: dict[int, State] = {
    api.DEAD_LETTER_STATE_UNSPECIFIED: "",
    api.DEAD_LETTER_STATE_BURIED: "buried",
    api.DEAD_LETTER_STATE_REPLAYED: "replayed",
    api.DEAD_LETTER_STATE_DROPPED: "dropped",
}


class DeadLetterServicer(dead_letters_pb2_grpc.DeadLetterServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListDeadLetters(
        self, request: api.ListDeadLettersRequest, context: Context
    ) -> api.ListDeadLettersResponse:
        page = check_page(request.page_size, request.page_token, id_form=LETTER_ID)
        wanted = _filter(request.filter)
        async with rpc_session(self._database) as session:
            found = await repository.list_letters(session, wanted, page)
        return api.ListDeadLettersResponse(
            dead_letters=[_message(letter) for letter in found[: page.size]], next_page_token=_next(found, page)
        )

    async def GetDeadLetter(self, request: api.GetDeadLetterRequest, context: Context) -> api.DeadLetter:
        async with rpc_session(self._database) as session:
            return _whole(await _existing(session, request.name))

    async def ReplayDeadLetter(self, request: api.ReplayDeadLetterRequest, context: Context) -> api.DeadLetter:
        key = parse_name(request.name)
        async with rpc_session(self._database) as session:
            check_replayed(await repository.replay_letter(session, key), request.name)
            return _message(await _existing(session, request.name))

    async def DropDeadLetter(self, request: api.DropDeadLetterRequest, context: Context) -> api.DeadLetter:
        key, why = parse_name(request.name), check_why(request.why)
        async with rpc_session(self._database) as session:
            check_dropped(await repository.drop_letter(session, key, why), request.name)
            return _message(await _existing(session, request.name))

    async def ListAllDeadLetters(
        self, request: api.ListAllDeadLettersRequest, context: Context
    ) -> api.ListAllDeadLettersResponse:
        page = check_page(request.page_size, request.page_token, id_form=LETTER_ID)
        wanted = _filter(request.filter)
        async with rpc_session(self._database) as session:
            found = await repository.list_letters_of_all(session, wanted, page, quarantined=request.quarantined)
        return api.ListAllDeadLettersResponse(
            dead_letters=[_named(letter) for letter in found[: page.size]], next_page_token=_next(found, page)
        )

    async def DropQuarantinedDeadLetter(
        self, request: api.DropQuarantinedDeadLetterRequest, context: Context
    ) -> api.DropQuarantinedDeadLetterResponse:
        key, why = parse_name(request.name), check_why(request.why)
        async with rpc_session(self._database) as session:
            check_dropped(await repository.drop_quarantined_letter(session, key, why), request.name)
        return api.DropQuarantinedDeadLetterResponse()


async def _existing(session: Session, name: str) -> Letter:
    """Raises NotFound."""
    letter = await repository.get_letter(session, parse_name(name))
    if letter is None:
        raise NotFound("dead letter", name)
    return letter


def _filter(given: api.DeadLetterFilter) -> LetterFilter:
    """Raises InvalidInput."""
    if given.state not in STATES:
        raise InvalidInput("filter.state", "is unknown.", remedy="Use buried, replayed or dropped, or leave it out.")
    return check_filter(given.service, STATES[given.state])


def _next(found: list[Letter], page: Page) -> str:
    """The token of the page behind, if there is one."""
    last = found[page.size - 1] if len(found) > page.size else None
    return Place(last.buried_at, last.letter_id).token() if last else ""


def _message(letter: Letter) -> api.DeadLetter:
    return api.DeadLetter(
        name=f"deadLetters/{letter.letter_id}",
        service=letter.service,
        message_type=letter.type,
        reason=letter.reason,
        error=letter.error,
        deliveries=letter.deliveries,
        trace_id=letter.trace_id,
        task=letter.headers.get("ce-subject", ""),
        bury_time=timestamp(letter.buried_at),
        state=api.DeadLetterState.Value(f"DEAD_LETTER_STATE_{letter.state.upper()}"),
        decide_time=timestamp(letter.decided_at) if letter.decided_at else None,
        decider=letter.decided_by,
        why=letter.why,
    )


def _whole(letter: Letter) -> api.DeadLetter:
    message = _message(letter)
    message.headers.update(letter.headers)
    message.body = letter.body
    message.content = _content(letter)
    return message


def _named(letter: Letter) -> api.DeadLetter:
    message = _message(letter)
    message.tenant = "" if letter.tenant_id == NO_TENANT else f"tenants/{letter.tenant_id}"
    return message


def _content(letter: Letter) -> str:
    """As JSON; empty for a body that is not what its type says."""
    if letter.type not in BY_NAME:
        return ""
    try:
        return MessageToJson(BY_NAME[letter.type].body.FromString(letter.body), preserving_proto_field_name=True)
    except DecodeError:
        return ""
