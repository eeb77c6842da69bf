"""The isolation tests of the bus are tested: each protection is taken away, and the assertion it serves must fail.

A mutant is killed only by a crossing that the named assertion reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from morningai.bus import subjects
from morningai.bus.permissions import BUS_OWNER, inbox_prefix, subscriber_permissions
from tests.conftest import AUTHORIZATION, PASSWORD, SPECTATOR, running_nats
from tests.door import door_settings, durable_of, open_door
from tests.isolation.bus import (
    Crossed,
    Crossing,
    assert_may_do_nothing_else,
    assert_may_do_what_the_catalogue_says,
)
from tests.isolation.hearing import assert_a_reply_subject_reaches_nobody, assert_hears_only_its_own
from tests.visitor import visit_as


def also(*, publish=(), subscribe=()) -> Callable[..., object]:
    """A subscriber's permissions, widened."""

    def permit(tenant, key_id):
        allowed = subscriber_permissions(tenant, key_id)
        return replace(allowed, publish=(*allowed.publish, *publish), subscribe=(*allowed.subscribe, *subscribe))

    return permit


def changed(change) -> str:
    """The configuration of the bus with its accounts changed."""
    head, tail = AUTHORIZATION.split("\nsystem_account", 1)
    accounts = json.loads(head.removeprefix("accounts "))
    change(accounts)
    return f"accounts {json.dumps(accounts)}\nsystem_account{tail}"


def user(accounts, name):
    return next(each for each in accounts["MORNINGAI"]["users"] if each["user"] == name)["permissions"]


def reach_jetstream(subject):
    """Subscribers' requests on this subject go to JetStream itself, with their reply subject."""

    def change(accounts):
        accounts["MORNINGAI"]["exports"].append({"service": subject, "response_type": "stream"})
        imported = {"service": {"account": "MORNINGAI", "subject": subject}}
        accounts["SUBSCRIBERS"]["imports"].append(imported)

    return change


@pytest.fixture
def two(database):
    return database.create_tenant("tenant-a"), database.create_tenant("tenant-b")


@pytest.fixture
def world(database, tmp_path):
    """A server and a door, as they are or changed."""

    @asynccontextmanager
    async def opened(*, config=AUTHORIZATION, permit=subscriber_permissions):
        async with running_nats(tmp_path, config) as url, open_door(door_settings(database, url, tmp_path), permit):
            looking = await visit_as(url, user=SPECTATOR, password=PASSWORD)
            yield url, looking.client.jetstream()
            await looking.client.close()

    return opened


async def crossings_of_a_key(url, own, other):
    visitor = await visit_as(url, token=own.api_key)
    try:
        with pytest.raises(Crossed) as caught:
            await assert_may_do_nothing_else(visitor, own, other)
    finally:
        await visitor.client.close()
    return {(crossing.action, crossing.subject) for crossing in caught.value.crossings}


async def test_the_control_without_a_mutation_is_green(world, two):
    own, other = two
    async with world() as (url, spectator):
        visitor = await visit_as(url, token=own.api_key)
        assert await assert_may_do_nothing_else(visitor, own, other) > 0
        await visitor.client.close()
        await assert_hears_only_its_own(url, two, spectator)
        await assert_a_reply_subject_reaches_nobody(url, own, other, spectator)


WIDER = {
    "hears every tenant": ({"subscribe": ("morningai.public.*.>",)}, ("subscribe", "morningai.public.*.>")),
    "hears every replay": ({"subscribe": ("morningai.replay.>",)}, ("subscribe", "morningai.replay.*.*")),
    "hears the services' events": ({"subscribe": ("morningai.event.>",)}, ("subscribe", "morningai.event.>")),
    "hears inboxes": ({"subscribe": ("_INBOX.>",)}, ("subscribe", "_INBOX.>")),
    "hears acknowledgements": ({"subscribe": ("$JS.ACK.>",)}, ("subscribe", "$JS.ACK.>")),
    "hears whose keys are checked": ({"subscribe": ("$SYS.>",)}, ("subscribe", "$SYS.REQ.USER.AUTH")),
    "asks JetStream": ({"publish": ("$JS.API.>",)}, ("publish", "$JS.API.INFO")),
    "reads a stream": ({"publish": ("$JS.API.STREAM.MSG.GET.*",)}, ("publish", "$JS.API.STREAM.MSG.GET.PUBLIC")),
    "sends commands": ({"publish": ("morningai.command.>",)}, ("publish", "morningai.command.docs")),
    "asks the server": ({"publish": ("$SYS.REQ.>",)}, ("publish", "$SYS.REQ.USER.INFO")),
    "sends to inboxes": ({"publish": ("_INBOX.>",)}, ("publish", "_INBOX.x")),
}


@pytest.mark.usefixtures("mutant")
@pytest.mark.parametrize(("wider", "killed_by"), WIDER.values(), ids=WIDER)
async def test_a_wider_permission_of_subscribers_is_noticed(world, two, wider, killed_by):
    async with world(permit=also(**wider)) as (url, _):
        assert killed_by in await crossings_of_a_key(url, *two)


@pytest.mark.usefixtures("mutant")
async def test_acknowledging_for_another_tenant_is_noticed(world, two):
    async with world(permit=also(publish=("$JS.ACK.PUBLIC.>",))) as (url, _):
        victim = f"$JS.ACK.PUBLIC.{durable_of(two[1])}.1.1.1.1.0"
        assert ("publish", victim) in await crossings_of_a_key(url, *two)


@pytest.mark.usefixtures("mutant")
@pytest.mark.parametrize("subject", ["morningai.public.>", "morningai.replay.>"])
async def test_a_subscriber_that_hears_another_tenant_is_noticed(world, two, subject):
    async with world(permit=also(subscribe=(subject,))) as (url, spectator):
        with pytest.raises(Crossed) as caught:
            await assert_hears_only_its_own(url, two, spectator)
    assert {crossing.action for crossing in caught.value.crossings} == {"heard"}


@pytest.mark.usefixtures("mutant")
@pytest.mark.parametrize("subject", ["$JS.API.CONSUMER.MSG.NEXT.PUBLIC.>", "$JS.ACK.PUBLIC.>"])
async def test_a_way_to_jetstream_itself_is_noticed_by_what_it_sends_to_others(world, two, subject):
    config = changed(reach_jetstream(subject))
    async with world(config=config, permit=also(publish=(subject,))) as (url, spectator):
        with pytest.raises(Crossed) as caught:
            await assert_a_reply_subject_reaches_nobody(url, *two, spectator)
    assert {crossing.action for crossing in caught.value.crossings} == {"reached"}


@pytest.mark.usefixtures("mutant")
async def test_an_acknowledgement_passed_on_with_its_reply_subject_is_noticed(world, two):
    async with world() as (url, spectator):
        tenancy = await visit_as(url, user=BUS_OWNER, password=PASSWORD, inbox_prefix=inbox_prefix(BUS_OWNER))

        async def pass_on_as_it_is(message):
            subject = message.subject.replace(subjects.ACKNOWLEDGEMENT_PREFIX, "$JS.ACK.PUBLIC", 1)
            await tenancy.client.publish(subject, message.data, reply=message.reply)

        await tenancy.client.subscribe(f"{subjects.ACKNOWLEDGEMENT_PREFIX}.>", cb=pass_on_as_it_is)
        await tenancy.client.flush()
        with pytest.raises(Crossed) as caught:
            await assert_a_reply_subject_reaches_nobody(url, *two, spectator)
        await tenancy.client.close()
    assert {crossing.action for crossing in caught.value.crossings} == {"reached"}


SERVICES_MAY = {
    "docs hears everything": ("docs", "subscribe", ">", Crossing("docs", "subscribe", ">")),
    "faqgen hears public events": (
        *("faqgen", "subscribe", "morningai.public.>"),
        Crossing("faqgen", "subscribe", "morningai.public.>"),
    ),
    "codegen sends commands": (
        *("codegen", "publish", "morningai.command.>"),
        Crossing("codegen", "publish", "morningai.command.docs"),
    ),
    "gateway asks JetStream": (
        *("gateway", "publish", "$JS.API.>"),
        Crossing("gateway", "publish", "$JS.API.STREAM.MSG.GET.EVENTS"),
    ),
    "orchestrator asks the server": (
        *("orchestrator", "publish", "$SYS.>"),
        Crossing("orchestrator", "publish", "$SYS.REQ.SERVER.PING"),
    ),
    "tenancy pulls": (
        *("tenancy", "publish", "$JS.API.CONSUMER.MSG.NEXT.>"),
        Crossing("tenancy", "publish", "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.docs-work"),
    ),
}


@pytest.mark.usefixtures("mutant")
@pytest.mark.parametrize(("service", "verb", "subject", "killed_by"), SERVICES_MAY.values(), ids=SERVICES_MAY)
async def test_a_wider_permission_of_a_service_is_noticed(tmp_path, tenant, service, verb, subject, killed_by):
    config = changed(lambda accounts: user(accounts, service)[verb].append(subject))
    async with running_nats(tmp_path, config) as url:
        visitor = await visit_as(url, user=service, password=PASSWORD, inbox_prefix=inbox_prefix(service))
        try:
            with pytest.raises(Crossed) as caught:
                await assert_may_do_what_the_catalogue_says(visitor, service, tenant)
        finally:
            await visitor.client.close()
    assert killed_by in caught.value.crossings
