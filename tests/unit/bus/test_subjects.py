from __future__ import annotations

from uuid import UUID

from morningai.bus.subjects import ANY_TENANT, command_subject, event_subject

TENANT = UUID(int=7)


def test_an_event_s_subject_names_its_tenant():
    assert event_subject(TENANT, "task", "started") == f"morningai.event.{TENANT}.task.started"


def test_a_service_subscribes_to_an_event_of_every_tenant():
    assert event_subject(ANY_TENANT, "task", "started") == "morningai.event.*.task.started"


def test_long_work_waits_in_the_service_s_queue():
    assert command_subject("docs", "work") == "morningai.command.docs"


def test_what_must_not_wait_has_a_lane_of_its_own():
    assert command_subject("docs", "control") == "morningai.command.docs.control"
