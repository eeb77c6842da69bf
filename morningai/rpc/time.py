"""Timestamps at the border of the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.errors import InvalidInput


def timestamp(moment: datetime | None) -> Timestamp | None:
    """None stays unset."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def duration_message(length: timedelta | None) -> Duration | None:
    """None stays unset."""
    if length is None:
        return None
    message = Duration()
    message.FromTimedelta(length)
    return message


def moment(message: Timestamp, *, field: str) -> datetime:
    """Raises InvalidInput for what is no time."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, "is no time.", remedy="Use a time of the years 1 to 9999.") from error


def duration(message: Duration, *, field: str) -> timedelta:
    """Raises InvalidInput for what is no duration."""
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, "is no duration.", remedy="Use seconds, e.g. 3600s.") from error
