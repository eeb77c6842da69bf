from __future__ import annotations

import pytest

from tests.conftest import PASSWORD
from tests.visitor import Visitor, visit_as


@pytest.fixture
async def visit(nats_url: str):
    visitors: list[Visitor] = []

    async def connect(service: str) -> Visitor:
        inbox_prefix = f"_INBOX_{service}"
        visitors.append(await visit_as(nats_url, user=service, password=PASSWORD, inbox_prefix=inbox_prefix))
        return visitors[-1]

    yield connect
    for visitor in visitors:
        await visitor.client.close()
