"""WatchEvents of SubscriptionService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks_api
from morningai.db.session import Database
from morningai.errors import InvalidInput, NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.server import Prove
from services.gateway.domain.events import FeedEvent, FeedPlace, Wanted
from services.gateway.event_feed import EventFeed
from services.gateway.event_tokens import EventTokens
from services.gateway.grpc_api.tasks import TASK_REMEDY, task_id_of
from services.gateway.messages import FEED_TYPES
from services.gateway.repository import events as repository
from services.gateway.repository import tasks


class EventWatches:
    def __init__(self, database: Database, events: EventFeed, tokens: EventTokens, *, prove: Prove) -> None:
        self._database = database
        self._events = events
        self._tokens = tokens
        self._prove = prove

    async def watch(self, request: api.WatchEventsRequest, context: Context) -> AsyncIterator[api.WatchEventsResponse]:
        wanted = _wanted(request)
        tenant_id, after = await self._start(request, wanted)
        async for step in self._events.steps(partial(self._prove, context), tenant_id, wanted, after=after):
            event = _event_message(step.event) if step.event else None
            yield api.WatchEventsResponse(token=self._tokens.write(tenant_id, step.place), event=event)

    async def _start(self, request: api.WatchEventsRequest, wanted: Wanted) -> tuple[UUID, FeedPlace]:
        if request.after_token and request.from_oldest:
            raise InvalidInput("from_oldest", "contradicts after_token.", remedy="Give one of them.")
        async with rpc_session(self._database) as session:
            if wanted.task_id and await tasks.get_task(session, wanted.task_id) is None:
                raise NotFound("task", request.task, remedy=TASK_REMEDY)
            if request.after_token:
                return session.tenant_id, self._tokens.read(session.tenant_id, request.after_token)
            ends = await repository.get_feed_ends(session)
            return session.tenant_id, ends.floor if request.from_oldest else ends.end


def _wanted(request: api.WatchEventsRequest) -> Wanted:
    unknown = [name for name in request.event_types if name not in FEED_TYPES]
    if unknown:
        remedy = f"Use {', '.join(sorted(FEED_TYPES))}, or none for all."
        raise InvalidInput("event_types", f"'{unknown[0]}' is not in the feed.", remedy=remedy)
    types = tuple(dict.fromkeys(request.event_types)) or tuple(sorted(FEED_TYPES))
    return Wanted(types, task_id_of(request.task) if request.task else None)


def _event_message(event: FeedEvent) -> api.Event:
    return api.Event(
        id=str(event.event_id), type=event.event_type, task_event=tasks_api.TaskEvent.FromString(event.content)
    )
