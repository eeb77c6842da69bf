"""The feed of a tenant's events, in its own session."""

from __future__ import annotations

from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.session import Session
from services.gateway.domain.events import FeedEnds, FeedEvent, FeedPage, FeedPlace, Wanted

QUERIES = load_queries(__file__)
MOST_EVENTS = 100
# Of a page; one event may be larger.
MOST_BYTES = 1024 * 1024


async def get_feed_ends(session: Session) -> FeedEnds:
    row = await session.row(QUERIES["get_feed_ends"])
    assert row is not None
    return _ends(row)


async def list_feed(session: Session, wanted: Wanted, *, after: FeedPlace) -> FeedPage:
    parameters: dict[str, object] = {"after_position": after.position, "after_sequence": after.sequence}
    parameters |= {"types": list(wanted.event_types), "task_id": wanted.task_id}
    parameters |= {"limit": MOST_EVENTS, "most_bytes": MOST_BYTES}
    rows = await session.rows(QUERIES["list_feed"], parameters)
    events = tuple(_event(row) for row in rows if row["event_id"])
    return FeedPage(
        ends=_ends(rows[0]),
        events=events,
        has_more=bool(events) and (rows[0]["found"] == MOST_EVENTS or rows[0]["found"] > len(events)),
        is_held=rows[0]["is_held"],
        is_lost=after.position >= rows[0]["ceiling"],
        has_ended=bool(rows[0]["has_ended"]),
    )


def _ends(row: DictRow) -> FeedEnds:
    floor = FeedPlace(row["floor_position"], row["floor_sequence"])
    return FeedEnds(floor, max(floor, FeedPlace(row["last_position"], row["last_sequence"])))


def _event(row: DictRow) -> FeedEvent:
    return FeedEvent(FeedPlace(row["feed_position"], row["sequence"]), row["event_id"], row["type"], row["event"])
