"""A page as the parameters of a query: before_time, before_id and limit."""

from __future__ import annotations

from services.tenancy.domain.pages import Page


def page_parameters(page: Page) -> dict[str, object]:
    """The limit is one more than the page holds: that row says that there is a next page."""
    return {
        "before_time": page.before.time if page.before else None,
        "before_id": page.before.id if page.before else None,
        "limit": page.size + 1,
    }
