from __future__ import annotations

from uuid import UUID

import pytest

from morningai.errors import NotFound
from morningai.rpc.names import resource_id

ID = UUID("01980000-0000-7000-8000-000000000001")


def test_the_id_is_the_end_of_the_name() -> None:
    assert resource_id("document", f"documents/{ID}") == ID


@pytest.mark.parametrize("name", ["", "documents/", "documents/x", f"documents/{ID}/versions/1"])
def test_a_name_without_an_id_is_of_no_resource(name: str) -> None:
    with pytest.raises(NotFound):
        resource_id("document", name)
