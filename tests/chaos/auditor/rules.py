"""What must hold of a run: each rule is a function that yields what breaks it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from morningai.api.tasks.v1 import tasks_pb2 as api
from tests.chaos.auditor import delivery_rules
from tests.chaos.auditor.world import ENDS, Findings, World, counted, grouped

Rule: TypeAlias = Callable[[World], Findings]

TERMINAL = frozenset(ENDS.values())
# What a task may be after what.
NEXT: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running"}) | TERMINAL,
    "running": frozenset({"running", "waiting_for_approval"}) | TERMINAL,
    "waiting_for_approval": frozenset({"waiting_for_approval", "running"}) | TERMINAL,
}
NEXT_OF_STEP: Mapping[str, frozenset[str]] = {
    "": frozenset({"running"}),
    "running": frozenset({"succeeded", "failed", "cancelled"}),
    # What had reached its limit may go on once a person allowed it.
    "failed": frozenset({"running"}),
}
HANDED_OVER = "PatchVerified"
RESULT_OF_STEP = {"answer": "answer", "faq": "faq", "document": "document", "change": "change"}


def one_end(world: World) -> Findings:
    said = grouped((row for row in world.records.outbox if row["type"] in ENDS), lambda row: row["task"])
    kept = {str(row["task"]): str(row["state"]) for row in world.records.accepted}
    for task in world.acknowledged:
        if task not in kept:
            yield f"task {task} was acknowledged and is gone"
    for task, state in kept.items():
        ends = [ENDS[str(row["type"])] for row in said.get(task, ())]
        if len(ends) != 1:
            yield f"task {task} has {len(ends)} ends ({', '.join(ends) or 'none'}), not one"
        elif ends != [state]:
            yield f"task {task} ended as {ends[0]} and the gateway says {state}"


def an_end_is_for_ever(world: World) -> Findings:
    kept = {str(row["task"]): str(row["state"]) for row in world.records.accepted}
    for call in world.evidence.calls:
        if call.state and call.task and kept.get(call.task.removeprefix("tasks/")) != call.state:
            yield f"{call.task} was told to have ended as {call.state}; it is {kept.get(call.task[6:], 'gone')}"
    told = [call for call in world.evidence.calls if call.method == "GetTask" and call.outcome == "ok"]
    for task, calls in grouped(told, lambda call: call.task).items():
        ended = min((call.ended for call in calls if call.state), default=math.inf)
        if any(call.began > ended and not call.state for call in calls):
            yield f"{task} was told to have ended, and later to be open"


def one_effect(world: World) -> Findings:
    for (kind, task), count in counted((row["kind"], row["task"]) for row in world.records.effects).items():
        if count > 1:
            yield f"task {task} has {count} of kind {kind}"
    for row in world.records.versions:
        if row["count"] != 1:
            yield f"document {row['document']} has {row['count']} versions"


def results_are_there(world: World) -> Findings:
    made = {(row["kind"], row["task"]) for row in world.records.effects}
    for step in world.records.steps:
        kind = RESULT_OF_STEP.get(str(step["step"]))
        if kind and step["state"] == "succeeded" and (kind, step["task"]) not in made:
            yield f"step {step['step']} of task {step['task']} succeeded and left nothing"


def every_webhook(world: World) -> Findings:
    """One delivery for each event and endpoint, and a post that was taken for each."""
    delivered = {(row["endpoint"], row["event"]): row["state"] for row in world.records.deliveries}
    endpoints = grouped(world.records.endpoints, lambda row: row["tenant"])
    taken = {(post.tenant, post.webhook_id) for post in world.evidence.webhooks if 200 <= post.status < 300}
    for message in world.task_messages:
        for endpoint in endpoints.get(message["tenant"], ()):
            if (endpoint["endpoint"], message["id"]) not in delivered:
                yield f"event {message['id']} ({message['type']}) has no delivery to its tenant's endpoint"
            elif (world.slug_of_tenant.get(str(message["tenant"]), ""), str(message["id"])) not in taken:
                yield f"event {message['id']} ({message['type']}) never reached its tenant's endpoint"
    for name, posts in grouped(world.evidence.webhooks, lambda post: (post.tenant, post.webhook_id)).items():
        if len({post.body for post in posts}) > 1:
            yield f"webhook {name[1]} was posted with different content"
        if name[1] not in world.sent:
            yield f"webhook {name[1]} is of no event"


def legal_transitions(world: World) -> Findings:
    for task, events in world.feed.items():
        state, steps = "queued", dict[str, str]()
        for event in events:
            if event.state not in NEXT.get(state, frozenset()):
                yield f"task {task} went from {state} to {event.state} at event {event.sequence}"
            state = event.state
            if event.step:
                before = steps.get(event.step, "")
                if event.step_state not in NEXT_OF_STEP.get(before, frozenset()):
                    yield f"step {event.step} of task {task} went from {before or 'nothing'} to {event.step_state}"
                steps[event.step] = event.step_state


def changes_have_events(world: World) -> Findings:
    """The orchestrator's rows say what its events say, and the gateway keeps them all."""
    kept = {str(row["task"]): str(row["state"]) for row in world.records.accepted}
    run = {str(row["task"]): str(row["state"]) for row in world.records.tasks}
    for name in kept.keys() | run.keys():
        if kept.get(name) != run.get(name):
            states = f"{kept.get(name, 'unknown')} for the gateway and {run.get(name, 'unknown')} for the orchestrator"
            yield f"task {name} is {states}"
    said = counted(row["task"] for row in world.task_messages)
    for task in world.records.tasks:
        events = world.feed.get(str(task["task"]), [])
        if not task["sequence"] == said[task["task"]] == len(events):
            yield (
                f"task {task['task']} changed {task['sequence']} times; "
                f"{said[task['task']]} events were sent and {len(events)} kept"
            )
    last = {(event.task, event.step): event.step_state for events in world.feed.values() for event in events}
    for step in world.records.steps:
        if last.get((str(step["task"]), str(step["step"]))) != step["state"]:
            yield f"step {step['step']} of task {step['task']} is {step['state']} and no event says so last"
    rows = {(step["task"], step["step"]) for step in world.records.steps}
    for task, name in last:
        if name and (task, name) not in rows:
            yield f"an event tells of step {name} of task {task}, which does not exist"


def told_as_sent(world: World) -> Findings:
    """What was heard and what the feed keeps is, byte by byte, what the outbox holds."""
    for message in world.evidence.tap:
        row = world.sent.get(message.headers.get("ce-id", ""))
        if row and message.body != bytes(row["body"]):  # type: ignore[call-overload]
            yield f"message {row['id']} ({row['type']}) was heard in {message.stream} with other content than was sent"
    bodies = grouped(world.task_messages, lambda row: row["task"])
    for event in world.records.events:
        if not any(bytes(event["event"]) in bytes(row["body"]) for row in bodies.get(event["task"], ())):  # type: ignore[call-overload]
            yield f"event {event['sequence']} of task {event['task']} is kept with content that was never sent"


def messages_have_receipts(world: World) -> Findings:
    received = {(row["service"], row["id"]) for row in world.records.inbox}
    known = received | {(row["service"], row["id"]) for row in world.records.dead_letters}
    for message in world.task_messages:
        if message["published"] and ("gateway", message["id"]) not in known:
            yield f"event {message['id']} ({message['type']}) was published and the gateway has no receipt of it"
    for row in world.records.outbox:
        if row["cause"] in world.sent and row["work"] is None and (row["service"], row["cause"]) not in received:
            yield f"{row['service']} answered message {row['cause']} with {row['type']} and has no receipt of it"
    for service, name in received:
        if name not in world.sent:
            yield f"{service} has a receipt of message {name}, which nobody sent"


def published_is_heard(world: World) -> Findings:
    """Of a stream that the bus lost meanwhile, what it held last may never have been heard."""
    lost = {again.stream for again in world.evidence.made_again}
    heard = grouped(world.evidence.tap, lambda message: message.stream)
    for stream in ("EVENTS", "PUBLIC"):
        ids = {message.headers.get("ce-id", "") for message in heard.get(stream, ())}
        for row in world.facts if stream == "EVENTS" else world.task_messages:
            if row["published"] and row["id"] not in ids and stream not in lost:
                yield f"event {row['id']} ({row['type']}) is marked as published and was never heard in {stream}"
        for name in ids - set(world.sent):
            yield f"message {name} was heard in {stream} and is in no outbox"


def sequences_without_gaps(world: World) -> Findings:
    for task, events in world.feed.items():
        found = [event.sequence for event in events]
        if found != list(range(1, len(found) + 1)):
            yield f"task {task} has the events {found}"


def one_finish(world: World) -> Findings:
    """Whoever lost its lease wrote nothing: one reply for each piece of work, and only for work that finished."""
    leases = {str(row["work"]): row for row in world.records.leases}
    replies = grouped(
        (row for row in world.records.outbox if row["cause"] in leases and row["work"] is None),
        lambda row: row["cause"],
    )
    # A patch is handed over beside the reply.
    replies = {work: [row for row in rows if row["type"] != HANDED_OVER] for work, rows in replies.items()}
    for work, lease in leases.items():
        count = len(replies.get(work, ()))
        if lease["state"] == "finished" and count != 1:
            yield f"work {work} of {lease['service']} finished and has {count} replies, not one"
        if lease["state"] != "finished" and count:
            yield f"work {work} of {lease['service']} is {lease['state']} and has {count} replies"


def results_are_the_winner_s(world: World) -> Findings:
    """The attempt that ended the lease wrote its result and its replies, in that very transaction."""
    finished = [row for row in world.records.leases if row["state"] == "finished"]
    endings = {(row["service"], row["task"], row["transaction"]) for row in finished}
    for row in world.records.effects:
        if (row["service"], row["task"], row["transaction"]) not in endings:
            yield f"{row['kind']} {row['id']} of task {row['task']} was not written by the attempt that finished"
    ended = {str(row["work"]): row for row in finished}
    for row in world.records.outbox:
        lease = ended.get(str(row["cause"]))
        if lease and row["work"] is None and row["made"] != lease["changed"]:
            yield f"{row['type']} {row['id']} was not sent by attempt {lease['attempt']}, which finished {row['cause']}"


def steps_of_changes_agree(world: World) -> Findings:
    """A change came out of the steps that were recorded: as many replies as attempts, the last one checked."""
    leases = {str(row["work"]): row for row in world.records.leases if row["service"] == "codegen"}
    steps = grouped(world.records.change_steps, lambda row: row["work"])
    for work in steps:
        if work not in leases:
            yield f"steps of a change are recorded for {work}, which is no work"
    works = {(row["task"], row["transaction"]): work for work, row in leases.items()}
    written = {row["id"]: row["transaction"] for row in world.records.effects if row["kind"] == "change"}
    for change in world.records.changes:
        found = steps.get(works.get((change["task"], written.get(change["id"])), ""), [])
        replies = sorted(int(str(row["attempt"])) for row in found if row["step"] == "reply")
        if replies != list(range(1, int(str(change["attempts"])) + 1)):
            yield f"change {change['id']} took {change['attempts']} attempts, and its replies are those of {replies}"
        checked = {row["attempt"] for row in found if row["step"] == "verification"}
        if change["state"] == "verified" and change["attempts"] not in checked:
            yield f"change {change['id']} is verified, and its attempt {change['attempts']} was not checked"


def calls_are_paid(world: World) -> Findings:
    """Settled calls were answered, and whatever the provider saw is in the ledger, or marked as unknown in it."""
    for tenant, slug in world.slug_of_tenant.items():
        theirs = sum(call.tenant == slug and call.status != 0 for call in world.evidence.model)
        if (ledger := _ledger(world, tenant)) < theirs:
            yield f"the provider saw {theirs} calls of {slug} and its ledger has {ledger}"
    usage = world.records.usage
    calls, unknown = sum(int(str(row["calls"])) for row in usage), sum(int(str(row["unknown"])) for row in usage)
    open_calls = sum(row["state"] == "sent" for row in world.records.reservations)
    seen = [call for call in world.evidence.model if call.status != 0]
    answered = sum(not call.aborted for call in seen)
    if calls + open_calls < len(seen):
        yield f"the provider saw {len(seen)} calls and the ledger has {calls}, {open_calls} more being open"
    if calls - unknown > answered:
        yield f"{calls - unknown} calls are settled and the provider answered {answered}"


def _ledger(world: World, tenant: str) -> int:
    """Its calls, and those that are open."""
    paid = sum(int(str(row["calls"])) for row in world.records.usage if row["tenant"] == tenant)
    return paid + sum(row["tenant"] == tenant and row["state"] == "sent" for row in world.records.reservations)


def seals_fit(world: World) -> Findings:
    """A seal is of the message's own tenant, task and id, and no subscriber can read one."""
    for message in world.evidence.tap:
        headers = message.headers
        name, task = headers.get("ce-id", ""), headers.get("ce-subject", "").removeprefix("tasks/")
        seal = headers.get("ce-seal")
        if message.stream == "PUBLIC":
            if seal is not None:
                yield f"message {name} carries its seal where subscribers read it"
        elif seal is None:
            yield f"message {name} was heard without a seal"
        else:
            part = [*seal.split("|"), *[""] * 7]
            if (part[2], part[5], part[6]) != (headers.get("ce-tenantid"), task, name):
                yield f"message {name} of task {task} carries the seal of message {part[6]} of task {part[5]}"


def no_other_tenant(world: World) -> Findings:
    for message in world.evidence.tap:
        tenant, row = message.subject.split(".")[2], world.sent.get(message.headers.get("ce-id", ""))
        if tenant != message.headers.get("ce-tenantid") or (row and row["tenant"] != tenant):
            yield f"message {message.headers.get('ce-id')} of another tenant was heard at {message.subject}"
    for call in world.evidence.calls:
        task = (call.task or "").removeprefix("tasks/")
        owner = world.tenant_of_task.get(task)
        if call.outcome == "ok" and owner and owner != world.tenant_of_slug.get(call.tenant):
            yield f"{call.method} of {call.tenant} was answered with task {task} of another tenant"
    for post in world.evidence.webhooks:
        task = _task_of(post.body)
        if world.tenant_of_task.get(task) != world.tenant_of_slug.get(post.tenant):
            yield f"webhook {post.webhook_id} told {post.tenant} of task {task} of another tenant"
    for name in ("tasks", "steps", "events", "outbox", "leases", "effects"):
        for row in getattr(world.records, name):
            owner = world.tenant_of_task.get(str(row["task"]))
            if owner and owner != row["tenant"]:
                yield f"a row of {name} of task {row['task']} belongs to another tenant"
    for row in world.records.deliveries:
        event = world.sent.get(str(row["event"]))
        if event and event["tenant"] != row["tenant"]:
            yield f"the delivery of event {row['event']} belongs to another tenant"


def nothing_is_left(world: World) -> Findings:
    ended = {str(row["task"]) for row in world.records.accepted if row["state"] in TERMINAL}
    for row in world.records.outbox:
        if not row["published"] and row["overdue"]:
            yield f"message {row['id']} ({row['type']}) of {row['service']} waits to be published"
        elif not row["published"] and row["timed"] and row["task"] in ended:
            yield f"timer {row['id']} ({row['type']}) of {row['service']} is set and its task {row['task']} has ended"
    for row in world.records.leases:
        if row["state"] == "running" and row["task"] in ended:
            yield f"work {row['work']} of {row['service']} still runs and its task has ended"
        elif row["state"] == "running" and row["expired"]:
            yield f"work {row['work']} of {row['service']} runs and nobody renews its lease"
    for row in world.records.deliveries:
        if row["state"] == "pending":
            yield f"the delivery of event {row['event']} to endpoint {row['endpoint']} is pending"
    for row in world.records.dead_letters:
        yield f"{row['service']} has a dead letter: {row['type']} {row['id']}, {row['reason']}: {row['error']}"
    for consumer in world.evidence.consumers:
        if consumer.pending or consumer.unacknowledged:
            yield (
                f"consumer {consumer.consumer} has {consumer.pending} messages to deliver "
                f"and {consumer.unacknowledged} to be acknowledged"
            )
    for left in world.evidence.left:
        yield f"command {left.headers.get('ce-id')} is left at {left.subject}"


def the_tap_heard_all(world: World) -> Findings:
    for name in {"EVENTS", "PUBLIC"} - {
        stream.stream for stream in world.evidence.streams if stream.tapped is not None
    }:
        yield f"nothing says how much of {name} the tap heard"
    if not world.evidence.consumers:
        yield "no consumer was looked at"
    if not world.acknowledged:
        yield "no task was acknowledged, and nothing was tried"
    for stream in world.evidence.streams:
        if stream.tapped is not None and stream.tapped < stream.last_sequence:
            yield f"the tap heard {stream.tapped} of {stream.last_sequence} messages of {stream.stream}"


def watched_as_kept(world: World) -> Findings:
    """A watch goes on right after the event that it was asked to, without a gap or a repeat, as the feed has it."""
    kept = {(str(row["task"]), row["sequence"]): bytes(row["event"]) for row in world.records.events}  # type: ignore[call-overload]
    for call in world.evidence.calls:
        if call.method != "WatchTask" or not call.task:
            continue
        first = int(str(call.request.get("afterSequence", 0))) + 1
        for number, said in enumerate(call.events, start=first):
            sequence = api.TaskEvent.FromString(said).sequence
            if sequence != number:
                yield f"a watch of {call.task} told event {sequence} where {number} had to come"
            elif kept.get((call.task.removeprefix("tasks/"), number)) != said:
                yield f"a watch of {call.task} told another event {number} than is kept"


def one_task_for_a_request(world: World) -> Findings:
    created = [call for call in world.evidence.calls if call.method == "CreateTask" and call.outcome == "ok"]
    for (tenant, request), calls in grouped(created, lambda call: (call.tenant, call.request_id)).items():
        if len({call.task for call in calls}) > 1:
            yield f"request {request} of {tenant} gave {', '.join(sorted({str(call.task) for call in calls}))}"
    asked = {str(row["task"]): row["request"] for row in world.records.accepted}
    for task, call in world.acknowledged.items():
        if task in asked and asked[task] != call.request_id:
            yield f"request {call.request_id} was answered with task {task} of request {asked[task]}"
    for (tenant, request), count in counted((row["tenant"], row["request"]) for row in world.records.accepted).items():
        if count > 1:
            yield f"request {request} of tenant {tenant} has {count} tasks"


def _task_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["data"]["task"]).removeprefix("tasks/")
    except (ValueError, KeyError, TypeError):
        return ""


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        one_end,
        an_end_is_for_ever,
        one_effect,
        results_are_there,
        every_webhook,
        legal_transitions,
        changes_have_events,
        told_as_sent,
        messages_have_receipts,
        published_is_heard,
        sequences_without_gaps,
        one_finish,
        results_are_the_winner_s,
        steps_of_changes_agree,
        calls_are_paid,
        seals_fit,
        no_other_tenant,
        nothing_is_left,
        the_tap_heard_all,
        one_task_for_a_request,
        watched_as_kept,
        delivery_rules.delivered_once,
        delivery_rules.remotes_are_as_pushed,
        delivery_rules.approved_before_pushed,
        delivery_rules.decided_once,
        delivery_rules.decisions_have_events,
    )
}
