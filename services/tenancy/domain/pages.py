"""Pages of a list that is ordered by time and then by id, newest first."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from morningai.errors import InvalidInput

DEFAULT_PAGE = 50
LARGEST_PAGE = 200
LONGEST_TOKEN = 200
ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")


@dataclass(frozen=True)
class Place:
    """Where a page ended: the next one begins behind it."""

    time: datetime
    id: str

    def token(self) -> str:
        return base64.urlsafe_b64encode(f"{self.time.isoformat()}|{self.id}".encode()).decode()


@dataclass(frozen=True)
class Page:
    size: int
    before: Place | None


def check_page(page_size: int, page_token: str, *, id_form: re.Pattern[str] = ID) -> Page:
    """Raises InvalidInput."""
    if page_size < 0:
        raise InvalidInput("page_size", "is negative.", remedy=f"Use 1 to {LARGEST_PAGE}, or 0 for {DEFAULT_PAGE}.")
    return Page(min(page_size or DEFAULT_PAGE, LARGEST_PAGE), _place(page_token, id_form) if page_token else None)


def _place(token: str, id_form: re.Pattern[str]) -> Place:
    try:
        if len(token) > LONGEST_TOKEN:
            raise ValueError("too long")
        time, _, identity = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition("|")
        if not id_form.fullmatch(identity):
            raise ValueError("no id")
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return Place(moment, identity)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput("page_token", "is not one of ours.", remedy="Leave it empty for the first page.") from error
