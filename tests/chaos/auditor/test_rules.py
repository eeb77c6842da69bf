"""Each rule finds nothing in a sound run, and names what was done to it."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from tests.chaos.auditor.audit import audit, judged
from tests.chaos.auditor.records import Records
from tests.chaos.auditor.rules import RULES
from tests.chaos.auditor.world import World
from tests.chaos.evidence import (
    Call,
    ConsumerAtRest,
    Evidence,
    LeftMessage,
    ModelCall,
    StreamAtRest,
    StreamMadeAgain,
    TapMessage,
    Tenant,
    WebhookPost,
)

TENANT, OTHER, TASK, WORK = "t-1", "t-2", "k-1", "m-command"
EVENTS = (
    ("e1", "TaskStarted", "RUNNING", "", "STEP_STATE_UNSPECIFIED"),
    ("e2", "TaskStepChanged", "RUNNING", "answer", "STEP_STATE_RUNNING"),
    ("e3", "TaskStepChanged", "RUNNING", "answer", "STEP_STATE_SUCCEEDED"),
    ("e4", "TaskSucceeded", "SUCCEEDED", "", "STEP_STATE_UNSPECIFIED"),
)


def call(**changes):
    made = Call(1.0, 2.0, "acme", "CreateTask", "r-1", {}, "ok", f"tasks/{TASK}", None)
    return replace(made, **changes)


def message(service, name, kind, subject, *, cause=None):
    return {
        "service": service,
        "tenant": TENANT,
        "id": name,
        "task": TASK,
        "type": kind,
        "subject": subject,
        "cause": cause,
        "body": b"",
        "work": None,
        "published": True,
        "overdue": False,
        "timed": True,
    }


def fed(sequence, state, step, step_state):
    event = api.TaskEvent(
        sequence=sequence,
        task_state=api.TaskState.Value(f"TASK_STATE_{state}"),
        step=api.Step(step=step, state=api.StepState.Value(step_state)) if step else None,
    )
    return {"tenant": TENANT, "task": TASK, "sequence": sequence, "event": event.SerializeToString()}


def heard(name, stream, prefix):
    headers = {"ce-id": name, "ce-tenantid": TENANT, "ce-subject": f"tasks/{TASK}"}
    if stream == "EVENTS":
        headers["ce-seal"] = f"k1|f|{TENANT}|key:k|tasks.read|{TASK}|{name}|mac"
    return TapMessage(1.0, stream, f"morningai.{prefix}.{TENANT}.task.x", 1, headers, BODIES.get(name, b""))


def headed(tapped, **headers):
    return replace(tapped, headers={**tapped.headers, **headers})


def post(name):
    body = json.dumps({"data": {"task": f"tasks/{TASK}"}}).encode()
    return WebhookPost(1.0, "acme", "all", name, 204, body, {})


IDS = tuple(name for name, *_ in EVENTS)
FED = tuple(fed(number, *rest) for number, (_, _, *rest) in enumerate(EVENTS, start=1))
BODIES = {name: b"in front" + row["event"] for name, row in zip(IDS, FED, strict=True)}
SAID = tuple(
    message("orchestrator", name, kind, f"morningai.event.{TENANT}.task.x") | {"body": BODIES[name]}
    for name, kind, *_ in EVENTS
)
COMMAND = message("orchestrator", WORK, "GenerateAnswer", "morningai.command.faqgen")
REPLY = message("faqgen", "m-reply", "AnswerGenerated", f"morningai.event.{TENANT}.answer.generated", cause=WORK)
STEP = {"tenant": TENANT, "task": TASK, "step": "answer", "state": "succeeded", "command": WORK}
LEASE = {
    "service": "faqgen",
    "tenant": TENANT,
    "work": WORK,
    "task": TASK,
    "state": "finished",
    "attempt": 1,
    "expired": True,
}
SOUND = World(
    Evidence(
        tenants=(Tenant("acme", TENANT),),
        calls=(call(), call(method="GetTask", state="succeeded", request_id=None)),
        tap=(
            *(heard(name, "EVENTS", "event") for name in (*IDS, "m-reply")),
            *(heard(name, "PUBLIC", "public") for name in IDS),
        ),
        made_again=(),
        left=(),
        consumers=(ConsumerAtRest("EVENTS", "gateway", 0, 0),),
        streams=(StreamAtRest("EVENTS", 5, 5), StreamAtRest("PUBLIC", 4, 4), StreamAtRest("COMMANDS", 1, None)),
        webhooks=tuple(map(post, IDS)),
        model=(ModelCall(1.0, 2.0, "c-1", 200, False, "acme"),),
        git=(),
        faults=(),
    ),
    Records(
        now=10.0,
        accepted=({"tenant": TENANT, "task": TASK, "request": "r-1", "state": "succeeded", "sequence": 4},),
        tasks=({"tenant": TENANT, "task": TASK, "state": "succeeded", "sequence": 4},),
        steps=(STEP,),
        events=FED,
        outbox=(*SAID, COMMAND, REPLY),
        inbox=(
            *({"service": "gateway", "tenant": TENANT, "id": name} for name in IDS),
            {"service": "faqgen", "tenant": TENANT, "id": WORK},
            {"service": "orchestrator", "tenant": TENANT, "id": "m-reply"},
        ),
        leases=(LEASE,),
        dead_letters=(),
        deliveries=tuple({"tenant": TENANT, "endpoint": "p-1", "event": name, "state": "succeeded"} for name in IDS),
        endpoints=({"tenant": TENANT, "endpoint": "p-1"},),
        effects=({"kind": "answer", "tenant": TENANT, "task": TASK, "id": "a-1"},),
        versions=(),
        usage=({"tenant": TENANT, "calls": 1, "unknown": 0},),
        reservations=(),
    ),
)


def without(rows, place):
    return rows[:place] + rows[place + 1 :]


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
CASES = [(name, change) for name, changes in SABOTAGES.items() for change in changes]


def changed(change):
    ours = {name: value for name, value in change.items() if hasattr(R, name)}
    theirs = {name: value for name, value in change.items() if name not in ours}
    return World(replace(E, **theirs), replace(R, **ours))


def test_every_rule_has_its_sabotage():
    assert set(SABOTAGES) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_sound_run_breaks_no_rule(name):
    assert judged(name, SOUND) == []


@pytest.mark.parametrize(("name", "change"), CASES)
def test_the_rule_names_what_was_done(name, change):
    assert judged(name, changed(change))


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
    assert {name for name in imported if name.startswith(("morningai", "services"))} == {"morningai.api.tasks.v1"}
