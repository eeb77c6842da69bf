"""The feed of a tenant's events, and where a watch stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class FeedPlace(NamedTuple):
    """After an event."""

    position: int
    sequence: int


@dataclass(frozen=True)
class FeedEvent:
    """`event_id` is the `ce-id` of the bus and the `webhook-id`; `content` is a serialized TaskEvent."""

    place: FeedPlace
    event_id: UUID
    event_type: str
    content: bytes


@dataclass(frozen=True)
class Wanted:
    """What a watch wants to hear of: these types, and of one task alone if it names one."""

    event_types: tuple[str, ...]
    task_id: UUID | None = None


@dataclass(frozen=True)
class FeedEnds:
    """Everything at the floor or before it may be deleted; everything up to the end has come."""

    floor: FeedPlace
    end: FeedPlace


@dataclass(frozen=True)
class FeedPage:
    """`is_held` while there are events that must wait for a transaction; `is_lost` of a place that belongs to another
    database; `has_ended` of a task that no event can follow."""

    ends: FeedEnds
    events: tuple[FeedEvent, ...]
    has_more: bool
    is_held: bool
    is_lost: bool
    has_ended: bool
