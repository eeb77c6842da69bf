"""Two runs in which everything is as it has to be: of a task that is answered, and of a change delivered beside it."""

from __future__ import annotations

import json
from dataclasses import replace

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from tests.chaos.auditor.records import Records
from tests.chaos.auditor.world import World
from tests.chaos.evidence import (
    Call,
    ConsumerAtRest,
    Evidence,
    GitPush,
    ModelCall,
    RefAtRest,
    StreamAtRest,
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


def message(service, name, kind, subject, *, cause=None, task=TASK, body=b"", made=""):
    return {
        "service": service,
        "tenant": TENANT,
        "id": name,
        "task": task,
        "type": kind,
        "subject": subject,
        "cause": cause,
        "body": body,
        "made": made,
        "work": None,
        "published": True,
        "overdue": False,
        "timed": True,
    }


def fed(sequence, state, step, step_state, *, task=TASK, type="", commit=""):
    event = api.TaskEvent(
        sequence=sequence,
        type=type,
        task_state=api.TaskState.Value(f"TASK_STATE_{state}"),
        step=api.Step(step=step, state=api.StepState.Value(step_state), commit=commit) if step else None,
    )
    return {"tenant": TENANT, "task": task, "sequence": sequence, "event": event.SerializeToString()}


def heard(name, stream, prefix, *, task=TASK, body=None):
    headers = {"ce-id": name, "ce-tenantid": TENANT, "ce-subject": f"tasks/{task}"}
    if stream == "EVENTS":
        headers["ce-seal"] = f"k1|f|{TENANT}|key:k|tasks.read|{task}|{name}|mac"
    content = BODIES.get(name, b"") if body is None else body
    return TapMessage(1.0, stream, f"morningai.{prefix}.{TENANT}.task.x", 1, headers, content)


def post(name, *, task=TASK):
    body = json.dumps({"data": {"task": f"tasks/{task}"}}).encode()
    return WebhookPost(1.0, "acme", "all", name, 204, body, {})


def finished(service, work, task):
    """A lease that ended in transaction 700, at noon."""
    return {
        "service": service,
        "tenant": TENANT,
        "work": work,
        "task": task,
        "state": "finished",
        "attempt": 1,
        "expired": True,
        "changed": "noon",
        "transaction": "700",
    }


def watch(task, events, **changes):
    said = tuple(row["event"] for row in events)
    return call(method="WatchTask", request_id=None, task=f"tasks/{task}", state="succeeded", events=said, **changes)


IDS = tuple(name for name, *_ in EVENTS)
FED = tuple(fed(number, *rest) for number, (_, _, *rest) in enumerate(EVENTS, start=1))
BODIES = {name: b"in front" + row["event"] for name, row in zip(IDS, FED, strict=True)}
SAID = tuple(
    message("orchestrator", name, kind, f"morningai.event.{TENANT}.task.x") | {"body": BODIES[name]}
    for name, kind, *_ in EVENTS
)
COMMAND = message("orchestrator", WORK, "GenerateAnswer", "morningai.command.faqgen")
REPLY = message(
    "faqgen", "m-reply", "AnswerGenerated", f"morningai.event.{TENANT}.answer.generated", cause=WORK, made="noon"
)
STEP = {"tenant": TENANT, "task": TASK, "step": "answer", "state": "succeeded", "command": WORK, "commit": None}
LEASE = finished("faqgen", WORK, TASK)
ANSWER = {"service": "faqgen", "kind": "answer", "tenant": TENANT, "task": TASK, "id": "a-1", "transaction": "700"}
SOUND = World(
    Evidence(
        tenants=(Tenant("acme", TENANT),),
        calls=(call(), call(method="GetTask", state="succeeded", request_id=None), watch(TASK, FED)),
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
        git=(GitPush(1.0, "acme", "refs/heads/main", "0" * 40, "0ld"),),
        refs=(RefAtRest("acme", "refs/heads/main", "0ld", (), "start"),),
        faults=(),
    ),
    Records(
        now=10.0,
        accepted=({"tenant": TENANT, "task": TASK, "request": "r-1", "state": "succeeded", "sequence": 4},),
        tasks=({"tenant": TENANT, "task": TASK, "state": "succeeded", "sequence": 4, "branch": ""},),
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
        effects=(ANSWER,),
        versions=(),
        usage=({"tenant": TENANT, "calls": 1, "unknown": 0},),
        reservations=(),
        approvals=(),
        decisions=(),
        changes=(),
        change_steps=(),
        patches=(),
    ),
)


def added(world, *, evidence, records):
    """With more of each."""
    more_evidence = {name: getattr(world.evidence, name) + tuple(rows) for name, rows in evidence.items()}
    more_records = {name: getattr(world.records, name) + tuple(rows) for name, rows in records.items()}
    return World(replace(world.evidence, **more_evidence), replace(world.records, **more_records))


CHANGED, BRANCH, COMMIT, HASH, APPROVAL = "k-2", "morningai/k-2", "c0ffee", "5ea1", "p-2"
CHANGED_EVENTS = (
    ("g1", "TaskStarted", ("RUNNING", "", "", "task.started")),
    ("g2", "TaskStepChanged", ("RUNNING", "change", "RUNNING", "step.started")),
    ("g3", "TaskStepChanged", ("RUNNING", "change", "SUCCEEDED", "step.succeeded")),
    ("g4", "TaskWaitingForApproval", ("WAITING_FOR_APPROVAL", "", "", "task.waiting_for_approval")),
    ("g5", "TaskApproved", ("RUNNING", "", "", "task.approved")),
    ("g6", "TaskStepChanged", ("RUNNING", "deliver", "RUNNING", "step.started")),
    ("g7", "TaskStepChanged", ("RUNNING", "deliver", "SUCCEEDED", "step.succeeded")),
    ("g8", "TaskSucceeded", ("SUCCEEDED", "", "", "task.succeeded")),
)
CHANGED_IDS = tuple(name for name, *_ in CHANGED_EVENTS)
CHANGED_FED = tuple(
    fed(number, state, step, f"STEP_STATE_{step_state}", task=CHANGED, type=type, commit=COMMIT if name == "g7" else "")
    for number, (name, _, (state, step, step_state, type)) in enumerate(CHANGED_EVENTS, start=1)
)
CHANGED_BODIES = {name: b"in front" + row["event"] for name, row in zip(CHANGED_IDS, CHANGED_FED, strict=True)}
DELIVERED_BODY = events.ChangeDelivered(change="changes/h-2", branch=BRANCH, commit=COMMIT).SerializeToString()


def replied(service, name, kind, *, cause, body=b""):
    subject = f"morningai.event.{TENANT}.change.x" if kind != "PatchVerified" else "morningai.command.docs"
    return message(service, name, kind, subject, cause=cause, task=CHANGED, body=body, made="noon")


# A change that was approved and delivered, beside the answer.
DELIVERED = added(
    SOUND,
    evidence={
        "calls": (
            call(request_id="r-2", task=f"tasks/{CHANGED}"),
            call(method="SetApprovalPolicy", request_id=None, task=None, request={"approvalPolicy": {}}),
            call(method="ApproveTask", request_id=None, task=None, request={"name": f"approvals/{APPROVAL}"}),
        ),
        "tap": (
            *(heard(name, "EVENTS", "event", task=CHANGED, body=body) for name, body in CHANGED_BODIES.items()),
            *(heard(name, "PUBLIC", "public", task=CHANGED, body=body) for name, body in CHANGED_BODIES.items()),
            heard("n-generated", "EVENTS", "event", task=CHANGED),
            heard("n-delivered", "EVENTS", "event", task=CHANGED, body=DELIVERED_BODY),
        ),
        "webhooks": tuple(post(name, task=CHANGED) for name in CHANGED_IDS),
        "git": (GitPush(6.0, "acme", f"refs/heads/{BRANCH}", "0" * 40, COMMIT),),
        "refs": (RefAtRest("acme", f"refs/heads/{BRANCH}", COMMIT, ("0ld",), f"Do it.\n\nTask: tasks/{CHANGED}"),),
    },
    records={
        "accepted": ({"tenant": TENANT, "task": CHANGED, "request": "r-2", "state": "succeeded", "sequence": 8},),
        "tasks": ({"tenant": TENANT, "task": CHANGED, "state": "succeeded", "sequence": 8, "branch": BRANCH},),
        "steps": (
            STEP | {"task": CHANGED, "step": "change", "command": "w-change"},
            STEP | {"task": CHANGED, "step": "deliver", "command": "w-deliver", "commit": COMMIT},
        ),
        "events": CHANGED_FED,
        "outbox": (
            *(
                message(
                    "orchestrator",
                    name,
                    kind,
                    f"morningai.event.{TENANT}.task.x",
                    task=CHANGED,
                    body=CHANGED_BODIES[name],
                )
                for name, kind, _ in CHANGED_EVENTS
            ),
            message("orchestrator", "w-change", "GenerateChange", "morningai.command.codegen", task=CHANGED),
            message("orchestrator", "w-deliver", "DeliverChange", "morningai.command.docs", task=CHANGED),
            replied("codegen", "n-patch", "PatchVerified", cause="w-change"),
            replied("codegen", "n-generated", "ChangeGenerated", cause="w-change"),
            replied("docs", "n-delivered", "ChangeDelivered", cause="w-deliver", body=DELIVERED_BODY),
        ),
        "inbox": (
            *({"service": "gateway", "tenant": TENANT, "id": name} for name in CHANGED_IDS),
            {"service": "codegen", "tenant": TENANT, "id": "w-change"},
            {"service": "docs", "tenant": TENANT, "id": "w-deliver"},
        ),
        "leases": (finished("codegen", "w-change", CHANGED), finished("docs", "w-deliver", CHANGED)),
        "deliveries": (
            {"tenant": TENANT, "endpoint": "p-1", "event": name, "state": "succeeded"} for name in CHANGED_IDS
        ),
        "effects": (ANSWER | {"service": "codegen", "kind": "change", "task": CHANGED, "id": "h-2"},),
        "approvals": (
            {
                "tenant": TENANT,
                "task": CHANGED,
                "id": APPROVAL,
                "kind": "delivery",
                "state": "approved",
                "hash": HASH,
                "decided": 5.0,
                "settled": True,
            },
        ),
        "decisions": ({"tenant": TENANT, "approval": APPROVAL, "action": "approvals.approve"},),
        "changes": (
            {"tenant": TENANT, "task": CHANGED, "id": "h-2", "state": "verified", "attempts": 1, "hash": HASH},
        ),
        "change_steps": (
            {"tenant": TENANT, "work": "w-change", "step": "reply", "attempt": 1},
            {"tenant": TENANT, "work": "w-change", "step": "verification", "attempt": 1},
        ),
        "patches": ({"tenant": TENANT, "task": CHANGED, "change": "h-2", "hash": HASH},),
    },
)
