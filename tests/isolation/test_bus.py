"""The bus keeps the border: every subject and every request that a subscriber or a service could try."""

from __future__ import annotations

from itertools import permutations

import pytest

from morningai.bus.permissions import SERVICES, inbox_prefix
from tests.conftest import PASSWORD
from tests.door import live_of, replay_of
from tests.isolation.bus import (
    assert_may_do_its_three_requests,
    assert_may_do_nothing_else,
    assert_may_do_what_the_catalogue_says,
)
from tests.isolation.hearing import assert_a_reply_subject_reaches_nobody, assert_hears_only_its_own
from tests.visitor import visit_as

NAMES = ("tenant-a", "tenant-b", "tenant-c")
PAIRS = list(permutations(NAMES, 2))


@pytest.fixture
def tenants(database):
    return {name: database.create_tenant(name) for name in NAMES}


@pytest.mark.parametrize(("own", "other"), PAIRS, ids=[f"{own} against {other}" for own, other in PAIRS])
async def test_a_subscriber_may_do_nothing_but_hear_and_acknowledge(door, nats_url, tenants, own, other, calls_tried):
    visitor = await visit_as(nats_url, token=tenants[own].api_key)
    calls_tried(await assert_may_do_nothing_else(visitor, tenants[own], tenants[other]))
    await visitor.client.close()


async def test_a_subscriber_may_hear_and_acknowledge(door, nats_url, tenants):
    tenant = tenants["tenant-a"]
    visitor = await visit_as(nats_url, token=tenant.api_key)
    assert await visitor.refused_to_subscribe([live_of(tenant), replay_of(tenant)]) == set()
    await visitor.client.close()


async def test_a_subscriber_hears_nothing_of_another_tenant(door, nats_url, tenants, spectator):
    await assert_hears_only_its_own(nats_url, tenants.values(), spectator)


async def test_a_subscriber_cannot_have_anything_sent_to_another_by_a_reply_subject(door, nats_url, tenants, spectator):
    own, other = tenants["tenant-a"], tenants["tenant-b"]
    await assert_a_reply_subject_reaches_nobody(nats_url, own, other, spectator)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_may_do_what_the_catalogue_says(nats_url, tenant, service, calls_tried):
    visitor = await visit_as(nats_url, user=service, password=PASSWORD, inbox_prefix=inbox_prefix(service))
    calls_tried(await assert_may_do_what_the_catalogue_says(visitor, service, tenant))
    await visitor.client.close()


async def test_the_callout_s_user_asks_the_server_three_things_and_no_more(nats_url, tenant, calls_tried):
    visitor = await visit_as(nats_url, user="callout", password=PASSWORD, inbox_prefix=inbox_prefix("callout"))
    calls_tried(await assert_may_do_its_three_requests(visitor, tenant))
    await visitor.client.close()
