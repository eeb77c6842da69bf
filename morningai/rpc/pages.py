"""Pages of listings (AIP-158): bounded by rows and by bytes, continued by a token that only its own listing reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import Message

from morningai.errors import InvalidInput

M = TypeVar("M", bound=Message)
K = TypeVar("K")

DEFAULT_PAGE = 50
# A quarter of what gRPC lets a client receive by default.
LARGEST_PAGE_BYTES = 1024 * 1024


def page_limit(page_size: int, *, most: int, default: int = DEFAULT_PAGE, field: str = "page_size") -> int:
    """Rows of a page. Raises InvalidInput for a negative size; a larger one than `most` is that (AIP-158)."""
    if page_size < 0:
        raise InvalidInput(field, "is negative.", remedy=f"Use 1 to {most}, or 0 for {default}.")
    return min(page_size or default, most)


def page_of(messages: Iterable[M], limit: int, *, most_bytes: int = LARGEST_PAGE_BYTES) -> list[M]:
    """The first `limit` messages, fewer when they are large; at least one."""
    page: list[M] = []
    size_bytes = 0
    for message in messages:
        size_bytes += message.ByteSize()
        if len(page) == limit or (page and size_bytes > most_bytes):
            break
        page.append(message)
    return page


def write_token(listing: str, *key: object) -> str:
    """`listing` names the rows and their filter; `key` is that of the page's last row."""
    return base64.urlsafe_b64encode(json.dumps([listing, *map(str, key)]).encode()).decode()


def read_token(token: str, listing: str, read_key: Callable[..., K]) -> K | None:
    """What `read_key` makes of the token's parts; None for the first page. Raises InvalidInput."""
    if not token:
        return None
    try:
        found, *key = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        if found == listing and all(isinstance(part, str) for part in key):
            return read_key(*key)
        raise ValueError(found)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        remedy = "Leave it empty for the first page. Repeat the request for the next ones."
        raise InvalidInput("page_token", "is not one of this listing.", remedy=remedy) from error
