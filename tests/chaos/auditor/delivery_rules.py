"""What must hold of deliveries and of the decisions on them, as the remotes' own history says."""

from __future__ import annotations

from tests.chaos.auditor.records import Row
from tests.chaos.auditor.world import Findings, World, counted, grouped
from tests.chaos.evidence import Call, GitPush

NOTHING = "0" * 40
MAIN = "refs/heads/main"
DECISIONS = {"ApproveTask": "approved", "RejectTask": "rejected"}
ACTIONS = {"approvals.approve": "approved", "approvals.reject": "rejected"}


def delivered_once(world: World) -> Findings:
    """One new branch with one commit for each change that was delivered, the recorded one; nothing for any other."""
    steps = {str(row["task"]): row for row in world.records.steps if row["step"] == "deliver"}
    tasks = _tasks_by_branch(world)
    pushes = grouped(world.evidence.git, lambda push: (push.tenant, push.ref))
    for (tenant, ref), found in pushes.items():
        if len(found) > 1 or found[0].old != NOTHING:
            yield f"{ref} of {tenant} was set {len(found)} times, from {found[0].old[:10]} on"
        task = str(tasks[tenant, ref]["task"]) if (tenant, ref) in tasks else None
        if ref == MAIN:
            continue
        if task is None:
            yield f"{ref} of {tenant} is of no task"
        elif task not in steps or steps[task]["state"] != "succeeded":
            yield f"{ref} of {tenant} was pushed, and its task {task} delivered nothing"
    for (tenant, ref), row in tasks.items():
        step = steps.get(str(row["task"]))
        if step and step["state"] == "succeeded":
            yield from _delivered(world, str(row["task"]), step, pushes.get((tenant, ref), []))


def _delivered(world: World, task: str, step: Row, pushes: list[GitPush]) -> Findings:
    commits = {push.new for push in pushes}
    if commits != {step["commit"]}:
        given = ", ".join(sorted(commits)) or "nothing"
        yield f"task {task} delivered {step['commit']} and its remote was given {given}"
    said = [message.commit for message in world.delivered.get(task, ())]
    if said != [step["commit"]]:
        yield f"task {task} delivered {step['commit']} and docs said {', '.join(said) or 'nothing'}"
    told = {event.commit for event in world.feed.get(task, ()) if event.commit}
    if told != {step["commit"]}:
        yield f"task {task} delivered {step['commit']} and its events say {', '.join(sorted(told)) or 'nothing'}"


def remotes_are_as_pushed(world: World) -> Findings:
    """Each ref is where its last push left it, one commit of its own task's on top of what was there before."""
    last = {(push.tenant, push.ref): push.new for push in world.evidence.git}
    there = {(ref.tenant, ref.ref): ref.commit for ref in world.evidence.refs}
    for name in last.keys() | there.keys():
        if last.get(name) != there.get(name):
            yield f"{name[1]} of {name[0]} is {there.get(name)} and was pushed as {last.get(name)}"
    tasks = _tasks_by_branch(world)
    for ref in world.evidence.refs:
        task = tasks.get((ref.tenant, ref.ref))
        if ref.ref != MAIN and ref.parents != (there.get((ref.tenant, MAIN)),):
            yield f"{ref.ref} of {ref.tenant} is on top of {', '.join(ref.parents) or 'nothing'}"
        if task and f"Task: tasks/{task['task']}" not in ref.message.splitlines():
            yield f"{ref.ref} of {ref.tenant} has the commit of another task than {task['task']}"


def decided_once(world: World) -> Findings:
    """A request that was decided has one decision: in the audit log, for whoever decided, and in its task's events."""
    logged = grouped(world.records.decisions, lambda row: row["approval"])
    told = grouped(
        (call for call in world.evidence.calls if call.method in DECISIONS and call.outcome == "ok"),
        lambda call: str(call.request.get("name")).removeprefix("approvals/"),
    )
    for row in world.records.approvals:
        state, name = str(row["state"]), str(row["id"])
        if state == "pending" or not row["settled"]:
            yield f"approval {name} of task {row['task']} is {state} and nothing came of it"
        entries = [ACTIONS[str(entry["action"])] for entry in logged.get(name, ())]
        if not _agree(state, entries):
            decisions = ", ".join(entries) or "nothing"
            yield f"approval {name} of task {row['task']} is {state} and was decided as {decisions}"
        answers = sorted({DECISIONS[call.method] for call in told.get(name, ())})
        if answers and not _agree(state, answers):
            yield f"approval {name} of task {row['task']} is {state} and was told to be {', '.join(answers)}"
    for (task, kind), count in counted((row["task"], row["kind"]) for row in world.records.approvals).items():
        if count > 1:
            yield f"task {task} asked {count} times for its {kind}"


def _agree(state: str, decisions: list[str]) -> bool:
    """What was decided while its task was being cancelled counts no more."""
    if state == "withdrawn":
        return len(decisions) <= 1
    return decisions == ([state] if state in DECISIONS.values() else [])


def decisions_have_events(world: World) -> Findings:
    decided = counted((str(row["task"]), str(row["state"])) for row in world.records.approvals)
    told = counted((event.task, event.type.removeprefix("task.")) for events in world.feed.values() for event in events)
    for task, state in decided.keys() | told.keys():
        if state in DECISIONS.values() and decided[task, state] != told[task, state]:
            yield f"task {task} has {decided[task, state]} requests {state} and {told[task, state]} events of it"


def approved_before_pushed(world: World) -> Findings:
    """What was pushed is what codegen verified; where the tenant wants to be asked, it was approved before."""
    unasked = {call.tenant for call in world.evidence.calls if _lets_push(call)}
    approvals = grouped(world.records.approvals, lambda row: (row["task"], row["kind"], row["state"]))
    verified = {(row["task"], row["id"]): row["hash"] for row in world.records.changes if row["state"] == "verified"}
    patches = grouped(world.records.patches, lambda row: row["task"])
    tasks = _tasks_by_branch(world)
    for push in world.evidence.git:
        if (push.tenant, push.ref) not in tasks:
            continue
        task = tasks[push.tenant, push.ref]["task"]
        hashes = {patch["hash"] for patch in patches.get(task, ())}
        if hashes != {verified.get((task, patch["change"])) for patch in patches.get(task, ())} or not hashes:
            yield f"{push.ref} of {push.tenant} was pushed, and is not what was verified for task {task}"
        approved = approvals.get((task, "delivery", "approved"), [])
        if push.tenant in unasked:
            continue
        if not any(row["decided"] < push.time and {row["hash"]} == hashes for row in approved):
            yield f"{push.ref} of {push.tenant} was pushed, and nobody had approved that of task {task}"


def _lets_push(call: Call) -> bool:
    policy = call.request.get("approvalPolicy")
    return call.outcome == "ok" and isinstance(policy, dict) and bool(policy.get("unapprovedDelivery"))


def _tasks_by_branch(world: World) -> dict[tuple[str, str], Row]:
    return {
        (world.slug_of_tenant.get(str(row["tenant"]), ""), f"refs/heads/{row['branch']}"): row
        for row in world.records.tasks
        if row["branch"]
    }
