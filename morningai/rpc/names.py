"""Resource names, as collection and id: `documents/0198…`."""

from __future__ import annotations

from uuid import UUID

from morningai.errors import NotFound


def resource_id(resource: str, name: str) -> UUID:
    """The id that the name ends with; raises NotFound for one that is none of ours."""
    try:
        return UUID(name.rpartition("/")[2])
    except ValueError as error:
        raise NotFound(resource, name) from error
