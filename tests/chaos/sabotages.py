"""The auditor names what is done to a running platform, and nothing of one that is left alone.

Run by `make sabotage`; each case starts the whole platform and takes about half a minute.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from tests.chaos import load, rest
from tests.chaos.__main__ import SETTINGS
from tests.chaos.auditor.audit import audit
from tests.chaos.load import SLUGS, Load, Order, customers, delivering, slug_in
from tests.chaos.platform import ChaosPlatform
from tests.chaos.proxy import running_loop
from tests.chaos.recorders.forge import serving_forges
from tests.chaos.recorders.model import RecordingModelServer
from tests.chaos.recorders.sinks import webhook_receiver
from tests.chaos.recorders.tap import tapping
from tests.chaos.up import TAP_PASSWORD, TAP_USER
from tests.e2e.model import scripted_model

# Beside other work a platform that never comes to rest takes minutes.
pytestmark = pytest.mark.timeout(600)

PATIENCE_SECONDS = 30.0
REST_SECONDS = 25.0
ORDERS = [
    Order(number, number % 3, ("answer", "document"), f"00000000-0000-4000-8000-00000000000{number}", True, None, False)
    for number in range(6)
]
# For the tenant that is not asked, and for two that are.
ORDERS += [
    replace(
        delivering(ORDERS[0]),
        number=number,
        tenant=number % 3,
        rejects=number == 7,
        watches=True,
        request_id=f"00000000-0000-4000-8000-00000000000{number}",
    )
    for number in (6, 7, 8)
]
# What is done, and the rule that must name it.
NAMED = {
    "lost_acks": "nothing_is_left",
    "effect_twice": "one_effect",
    "no_inbox": "messages_have_receipts",
    "no_outbox": "one_end",
    "no_fence": "one_finish",
    "push_again": "delivered_once",
    "unasked_push": "approved_before_pushed",
}


@pytest.fixture
def found(tmp_path, monkeypatch):
    """What the auditor finds of a few tasks on a platform with these patches."""
    monkeypatch.setattr(load, "PATIENCE_SECONDS", PATIENCE_SECONDS)

    def run(*patches):
        with ExitStack() as stack:
            server = partial(RecordingModelServer, folder=tmp_path, tenant_of=slug_in)
            model = stack.enter_context(scripted_model(make=server))
            forges = stack.enter_context(serving_forges(tmp_path, SLUGS))
            settings = model.settings | SETTINGS | forges.settings
            platform = ChaosPlatform(tmp_path, stack.enter_context(running_loop()), settings, patches=patches)
            stack.callback(platform.stop)
            platform.start()
            bus = "nats://{}:{}".format(*platform.nats())
            tap = stack.enter_context(tapping(tmp_path, bus, user=TAP_USER, password=TAP_PASSWORD))
            receiver = stack.enter_context(webhook_receiver(tmp_path))
            people = stack.enter_context(customers(platform, model, receiver, forges))
            one = Load(people)
            one.start(ORDERS)
            one.finish()
            rest.wait_for_rest(platform, seconds=REST_SECONDS)
            asyncio.run(tap.rest(seconds=5))
            forges.write_refs()
            return audit(tmp_path, platform.dsn)

    return run


def test_nothing_is_found_where_nothing_was_done(found):
    assert found() == []


@pytest.mark.parametrize(("sabotage", "rule"), NAMED.items())
def test_the_auditor_names_the_sabotage(found, sabotage, rule):
    assert rule in {finding.partition(":")[0] for finding in found(f"tests.chaos.sabotage.{sabotage}")}
