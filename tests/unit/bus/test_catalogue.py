from __future__ import annotations

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.catalogue import message_type, subscriptions_of


def test_a_service_has_one_durable_consumer_per_lane():
    assert [(s.durable, s.stream) for s in subscriptions_of("docs")] == [
        ("docs-patches", "EVENTS"),
        ("docs-work", "COMMANDS"),
        ("docs-checks", "COMMANDS"),
        ("docs-control", "COMMANDS"),
    ]


def test_messages_of_one_lane_of_commands_share_a_subject():
    control = next(s for s in subscriptions_of("docs") if s.lane == "control")
    assert control.filter_subjects == ("morningai.command.docs.control",)
    assert {message.short_name for message in control.types} == {"PublishDocument", "CancelWork"}


def test_events_are_filtered_by_name_for_every_tenant():
    requests = next(s for s in subscriptions_of("orchestrator") if s.lane == "requests")
    assert requests.filter_subjects == ("morningai.event.*.task.requested",)


def test_a_service_without_messages_has_no_consumer():
    assert subscriptions_of("tenancy") == ()


def test_a_lane_never_mixes_events_and_commands():
    lanes = [
        s for service in ("gateway", "orchestrator", "docs", "faqgen", "codegen") for s in subscriptions_of(service)
    ]
    assert {len({message.kind for message in lane.types}) for lane in lanes} == {1}


def test_a_message_that_is_not_in_the_catalogue_has_no_type():
    with pytest.raises(KeyError):
        message_type(events.Snapshot)
