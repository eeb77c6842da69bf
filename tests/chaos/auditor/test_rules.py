"""Each rule finds nothing in a sound run, and names what was done to it."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.auditor.audit import audit, judged
from tests.chaos.auditor.rules import RULES
from tests.chaos.auditor.sound import (
    APPROVAL,
    CHANGED,
    COMMAND,
    DELIVERED,
    LEASE,
    OTHER,
    REPLY,
    SAID,
    SOUND,
    STEP,
    TASK,
    TENANT,
    call,
    fed,
    heard,
    post,
    watch,
)
from tests.chaos.auditor.world import World
from tests.chaos.evidence import ConsumerAtRest, GitPush, LeftMessage, RefAtRest, StreamAtRest, StreamMadeAgain


def without(rows, place):
    return rows[:place] + rows[place + 1 :]


def headed(tapped, **headers):
    return replace(tapped, headers={**tapped.headers, **headers})


E, R = SOUND.evidence, SOUND.records
SABOTAGES = {
    "one_end": [
        {"calls": (call(task="tasks/k-lost"),)},
        {"outbox": without(R.outbox, 3)},
        {"outbox": (*R.outbox, SAID[3] | {"id": "e5", "type": "TaskFailed"})},
        {"accepted": ({**R.accepted[0], "state": "failed"},)},
    ],
    "an_end_is_for_ever": [
        {"calls": (call(method="GetTask", state="failed"),)},
        {"calls": (*E.calls, call(method="GetTask", request_id=None, began=3.0, ended=4.0))},
    ],
    "one_effect": [{"effects": R.effects * 2}, {"versions": ({"document": "d", "count": 2},)}],
    "results_are_there": [{"effects": ()}],
    "every_webhook": [
        {"webhooks": without(E.webhooks, 1)},
        {"webhooks": (replace(E.webhooks[0], status=500), *E.webhooks[1:])},
        {"webhooks": (*E.webhooks, replace(E.webhooks[0], body=b'{"data":{"task":"tasks/k-1","more":1}}'))},
        {"webhooks": (*E.webhooks, post("of nothing"))},
        {"deliveries": without(R.deliveries, 0)},
    ],
    "legal_transitions": [
        {"events": (*R.events, fed(5, "RUNNING", "", "STEP_STATE_UNSPECIFIED"))},
        {"events": (R.events[0], R.events[2], R.events[3])},
    ],
    "changes_have_events": [
        {"events": without(R.events, 1)},
        {"outbox": without(R.outbox, 1)},
        {"tasks": ({**R.tasks[0], "sequence": 5},)},
        {"steps": ({**STEP, "state": "failed"},)},
        {"steps": ()},
        {"tasks": ({**R.tasks[0], "state": "failed"},)},
        {"accepted": (*R.accepted, {**R.accepted[0], "task": "k-unknown"})},
    ],
    "told_as_sent": [
        {"tap": (replace(E.tap[0], body=b"changed on the way"), *E.tap[1:])},
        {"tap": (*E.tap[:-1], replace(E.tap[-1], body=b"changed for subscribers"))},
        {"events": (*R.events[:-1], fed(4, "FAILED", "", "STEP_STATE_UNSPECIFIED"))},
    ],
    "messages_have_receipts": [
        {"inbox": without(R.inbox, 1)},
        {"inbox": without(R.inbox, 4)},
        {"inbox": (*R.inbox, {"service": "docs", "tenant": TENANT, "id": "from nowhere"})},
    ],
    "published_is_heard": [
        {"tap": without(E.tap, 0)},
        {"tap": without(E.tap, 4)},
        {"tap": (*E.tap, heard("forged", "EVENTS", "event"))},
    ],
    "sequences_without_gaps": [{"events": without(R.events, 2)}, {"events": (*R.events, R.events[3])}],
    "one_finish": [
        {"outbox": (*R.outbox, REPLY | {"id": "m-again"})},
        {"outbox": R.outbox[:-1]},
        {"leases": ({**LEASE, "state": "cancelled"},)},
    ],
    "results_are_the_winner_s": [
        {"effects": ({**R.effects[0], "transaction": "699"},)},
        {"outbox": (*R.outbox[:-1], REPLY | {"made": "before noon"})},
    ],
    "watched_as_kept": [
        {"calls": (watch(TASK, without(R.events, 1)),)},
        {"calls": (watch(TASK, (R.events[0], *R.events)),)},
        {"calls": (watch(TASK, R.events[1:]),)},
        {"calls": (watch(TASK, R.events[1:], request={"afterSequence": "2"}),)},
        {"calls": (watch(TASK, (*R.events[:-1], fed(4, "FAILED", "", "STEP_STATE_UNSPECIFIED"))),)},
        {"calls": (watch(TASK, (*R.events, fed(5, "RUNNING", "", "STEP_STATE_UNSPECIFIED"))),)},
    ],
    "calls_are_paid": [
        {"usage": ()},
        {"usage": ({"tenant": TENANT, "calls": 2, "unknown": 0},)},
        {"usage": ({"tenant": OTHER, "calls": 1, "unknown": 0},)},
    ],
    "seals_fit": [
        {"tap": (headed(E.tap[0], **{"ce-seal": E.tap[1].headers["ce-seal"]}), *E.tap[1:])},
        {"tap": (headed(E.tap[0], **{"ce-subject": "tasks/k-2"}), *E.tap[1:])},
        {"tap": (headed(E.tap[0], **{"ce-tenantid": OTHER}), *E.tap[1:])},
        {"tap": (*E.tap[:-1], headed(E.tap[-1], **{"ce-seal": E.tap[3].headers["ce-seal"]}))},
        {"tap": (replace(E.tap[0], headers=E.tap[-1].headers), *E.tap[1:])},
    ],
    "no_other_tenant": [
        {"tap": (replace(E.tap[0], subject=f"morningai.event.{OTHER}.task.x"), *E.tap[1:])},
        {"calls": (call(tenant="other"),)},
        {"webhooks": (replace(E.webhooks[0], tenant="other"), *E.webhooks[1:])},
        {"webhooks": (replace(E.webhooks[0], body=b"no JSON"), *E.webhooks[1:])},
        {"effects": ({**R.effects[0], "tenant": OTHER},)},
        {"deliveries": ({**R.deliveries[0], "tenant": OTHER}, *R.deliveries[1:])},
    ],
    "nothing_is_left": [
        {"outbox": (*R.outbox, COMMAND | {"id": "m-2", "published": False, "overdue": True})},
        {"outbox": (*R.outbox, COMMAND | {"id": "m-2", "task": "k-2", "published": False, "overdue": True})},
        {"outbox": (*R.outbox, COMMAND | {"id": "m-2", "published": False})},
        {"leases": ({**LEASE, "state": "running", "expired": False},)},
        {"leases": ({**LEASE, "state": "running", "task": "k-2"},)},
        {"deliveries": ({**R.deliveries[0], "state": "pending"}, *R.deliveries[1:])},
        {"dead_letters": ({"service": "docs", "id": "m", "type": "IndexSource", "reason": "POISON", "error": "no"},)},
        {"consumers": (ConsumerAtRest("EVENTS", "gateway", 0, 1),)},
        {"left": (LeftMessage("COMMANDS", "morningai.command.docs", {"ce-id": "m"}),)},
    ],
    "the_tap_heard_all": [
        {"streams": (StreamAtRest("EVENTS", 6, 5), *E.streams[1:])},
        {"streams": without(E.streams, 1)},
        {"consumers": ()},
        {"calls": E.calls[1:]},
    ],
    "one_task_for_a_request": [
        {"calls": (call(), call(task="tasks/k-2"))},
        {"calls": (call(request_id="r-2"),)},
        {"accepted": (*R.accepted, {**R.accepted[0], "task": "k-2"})},
    ],
}
DE, DR = DELIVERED.evidence, DELIVERED.records
PUSH, REF, DELIVER = DE.git[-1], DE.refs[-1], DR.steps[-1]
AGREED, CHANGE = DR.approvals[0], DR.changes[0]
UNKNOWN = GitPush(7.0, "acme", "refs/heads/morningai/k-3", "0" * 40, "bad")
MOVED = GitPush(7.0, "acme", "refs/heads/main", "0ld", "new")
REJECTION = call(method="RejectTask", request_id=None, task=None, request={"name": f"approvals/{APPROVAL}"})
# Of a run in which a change was delivered.
OF_DELIVERY = {
    "delivered_once": [
        {"git": (*DE.git, replace(PUSH, old=PUSH.new, new="c0ffee2"))},
        {"git": (*DE.git, PUSH)},
        {"git": (*DE.git[:-1], replace(PUSH, old="1" * 40))},
        {"git": (*DE.git[:-1], replace(PUSH, new="another"))},
        {"git": DE.git[:-1]},
        {"git": (*DE.git, UNKNOWN)},
        {"git": (*DE.git, MOVED)},
        {"git": (*DE.git[:-1], replace(PUSH, tenant="other"))},
        {"steps": DR.steps[:-1]},
        {"steps": (*DR.steps[:-1], {**DELIVER, "state": "failed"})},
        {"steps": (*DR.steps[:-1], {**DELIVER, "state": "cancelled"})},
        {"steps": (*DR.steps[:-1], {**DELIVER, "commit": "another"})},
        {"outbox": DR.outbox[:-1]},
        {"outbox": (*DR.outbox, DR.outbox[-1] | {"id": "n-again"})},
        {"events": tuple(row for row in DR.events if (row["task"], row["sequence"]) != (CHANGED, 7))},
    ],
    "remotes_are_as_pushed": [
        {"refs": (*DE.refs[:-1], replace(REF, commit="another"))},
        {"refs": DE.refs[:-1]},
        {"refs": (*DE.refs, replace(REF, ref="refs/heads/of nobody"))},
        {"refs": (*DE.refs[:-1], replace(REF, parents=("another",)))},
        {"refs": (*DE.refs[:-1], replace(REF, parents=("0ld", "another")))},
        {"refs": (*DE.refs[:-1], replace(REF, message="Do it.\n\nTask: tasks/k-3"))},
        {"refs": (RefAtRest("acme", "refs/heads/main", "new", (), ""), REF)},
    ],
    "approved_before_pushed": [
        {"approvals": ()},
        {"approvals": ({**AGREED, "state": "rejected"},)},
        {"approvals": ({**AGREED, "kind": "publishing"},)},
        {"approvals": ({**AGREED, "decided": 6.5},)},
        {"approvals": ({**AGREED, "hash": "of another patch"},)},
        {"patches": ({**DR.patches[0], "hash": "of another patch"},)},
        {"patches": ()},
        {"changes": ({**CHANGE, "state": "failed"},)},
        {"changes": ({**CHANGE, "hash": "of another patch"},)},
    ],
    "decided_once": [
        {"decisions": DR.decisions * 2},
        {"decisions": ()},
        {"decisions": ({**DR.decisions[0], "action": "approvals.reject"},)},
        {"approvals": ({**AGREED, "state": "pending"},)},
        {"approvals": ({**AGREED, "settled": False},)},
        {
            "approvals": (AGREED, {**AGREED, "id": "p-3"}),
            "decisions": (*DR.decisions, {**DR.decisions[0], "approval": "p-3"}),
        },
        {"calls": (*DE.calls, REJECTION)},
        {"approvals": ({**AGREED, "state": "withdrawn"},), "calls": (*DE.calls, REJECTION)},
    ],
    "decisions_have_events": [
        {"approvals": ()},
        {"approvals": ({**AGREED, "state": "rejected"},)},
        {"events": tuple(row for row in DR.events if (row["task"], row["sequence"]) != (CHANGED, 5))},
    ],
    "steps_of_changes_agree": [
        {"changes": ({**CHANGE, "attempts": 2},)},
        {"change_steps": DR.change_steps[:1]},
        {"change_steps": DR.change_steps[1:]},
        {"change_steps": (*DR.change_steps, {**DR.change_steps[0], "work": "w-nobody"})},
        {"change_steps": (*DR.change_steps, {**DR.change_steps[0], "attempt": 2})},
    ],
}
CASES = [
    (world, name, change)
    for world, sabotages in ((SOUND, SABOTAGES), (DELIVERED, OF_DELIVERY))
    for name, changes in sabotages.items()
    for change in changes
]


def changed(change, world=SOUND):
    ours = {name: value for name, value in change.items() if hasattr(R, name)}
    theirs = {name: value for name, value in change.items() if name not in ours}
    return World(replace(world.evidence, **theirs), replace(world.records, **ours))


def test_every_rule_has_its_sabotage():
    assert set(SABOTAGES) | set(OF_DELIVERY) == set(RULES)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("world", [SOUND, DELIVERED], ids=["answered", "delivered"])
def test_a_sound_run_breaks_no_rule(world, name):
    assert judged(name, world) == []


@pytest.mark.parametrize(("world", "name", "change"), CASES)
def test_the_rule_names_what_was_done(world, name, change):
    assert judged(name, changed(change, world))


def test_a_tenant_that_agreed_beforehand_is_asked_for_nothing():
    agreed = call(method="SetApprovalPolicy", request={"approvalPolicy": {"unapprovedDelivery": True}})
    unasked = changed({"calls": (*DE.calls, agreed), "approvals": (), "decisions": ()}, DELIVERED)
    assert judged("approved_before_pushed", unasked) == []


def test_a_decision_may_come_while_its_task_is_being_cancelled():
    assert judged("decided_once", changed({"approvals": ({**AGREED, "state": "withdrawn"},)}, DELIVERED)) == []


def test_a_watch_that_was_resumed_need_not_tell_what_came_before():
    resumed = watch(TASK, R.events[2:], request={"afterSequence": "2"})
    assert judged("watched_as_kept", changed({"calls": (resumed,)})) == []


def test_what_a_lost_stream_held_need_not_have_been_heard():
    lost = {"made_again": (StreamMadeAgain(1.0, "EVENTS"),), "tap": E.tap[1:]}
    assert judged("published_is_heard", changed(lost)) == []


def test_a_call_whose_outcome_is_unknown_may_never_have_been_seen():
    assert judged("calls_are_paid", changed({"usage": ({"tenant": TENANT, "calls": 2, "unknown": 1},)})) == []


def test_a_task_that_never_started_may_leave_its_start_held_for_ever():
    held = COMMAND | {"id": "m-2", "published": False, "timed": False}
    assert judged("nothing_is_left", changed({"outbox": (*R.outbox, held)})) == []


EXPIRED = {
    "events": (*R.events[:3], fed(4, "EXPIRED", "", "STEP_STATE_UNSPECIFIED")),
    "outbox": (*without(R.outbox, 3), SAID[3] | {"type": "TaskExpired"}),
    "accepted": ({**R.accepted[0], "state": "expired"},),
}


@pytest.mark.parametrize("rule", ["one_end", "legal_transitions"])
def test_a_task_may_end_as_expired(rule):
    assert judged(rule, changed(EXPIRED)) == []


def test_a_task_that_expired_after_its_end_has_two_ends():
    late = SAID[3] | {"id": "e5", "type": "TaskExpired"}
    assert judged("one_end", changed({"outbox": (*R.outbox, late)})) == [
        f"one_end: task {TASK} has 2 ends (succeeded, expired), not one"
    ]


def test_work_whose_lease_was_just_renewed_may_run():
    alive = {**LEASE, "state": "running", "task": "k-2", "expired": False}
    assert judged("nothing_is_left", changed({"leases": (alive,)})) == []


def test_what_cannot_be_judged_is_a_finding(tmp_path):
    assert audit(tmp_path, "host=/nowhere") == [
        f"evidence: {tmp_path / 'tap.jsonl'} cannot be read: "
        f"[Errno 2] No such file or directory: '{tmp_path / 'tap.jsonl'}'"
    ]


def test_the_auditor_knows_no_code_of_the_product():
    imported = {
        name
        for path in Path(__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in [str(node.module)]
    }
    assert {name for name in imported if name.startswith(("morningai", "services"))} == {
        "morningai.api.events.v1",
        "morningai.api.tasks.v1",
    }
