"""Whether the demo showed what it promises; each shortcoming is one sentence."""

from __future__ import annotations

from morningai.api.answers.v1.answers_pb2 import Claim
from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.outcome import Outcome
from morningai.cli.wording import change_state, task_state

EXTRACTIVE = "extractive"
FEWEST_FAQ_ITEMS = 5
MODEL_UNAVAILABLE = "model_unavailable"
INSTALL_COMMAND = "morningai model install"
HONEST_STATES = frozenset(
    change_state(state) for state in changes.ChangeState.values() if state != changes.CHANGE_STATE_UNSPECIFIED
)


def shortcomings_of_main(outcome: Outcome) -> list[str]:
    """A cited answer, five FAQ items and a stored document, by a task that succeeded."""
    found = []
    if outcome.task.state != tasks.TASK_STATE_SUCCEEDED:
        found.append(f"The main task is {task_state(outcome.task.state)}, not succeeded.")
    if outcome.answer is None or not outcome.answer.found or not _are_cited(list(outcome.answer.claims)):
        found.append("There is no answer whose every claim is cited.")
    questions = {item.question for item in outcome.faq.items} if outcome.faq else set()
    if len(questions) < FEWEST_FAQ_ITEMS:
        found.append(f"The FAQ has {len(questions)} distinct questions, not {FEWEST_FAQ_ITEMS}.")
    if outcome.document is None or not outcome.document.content:
        found.append("No document was stored.")
    return found


def shortcomings_of_change(outcome: Outcome, engine: str) -> list[str]:
    """Any honest state will do; without a model it must be a refusal that names the remedy."""
    state, said = end_of_change(outcome)
    if state not in HONEST_STATES:
        return [f"The change ended as '{state}', which is none of its states: {said}"]
    if state.startswith("verified") and not (outcome.change and outcome.change.patch):
        return ["The change is called verified and has no patch."]
    if engine == EXTRACTIVE and (state != MODEL_UNAVAILABLE or INSTALL_COMMAND not in said):
        return [f"Without a model the change ended as '{state}' and did not name `{INSTALL_COMMAND}`: {said}"]
    return []


def end_of_change(outcome: Outcome) -> tuple[str, str]:
    """The state's name and everything that was said about it."""
    failures = [step.failure for step in outcome.task.steps if step.HasField("failure")] or [outcome.task.failure]
    words = [part for failure in failures for part in (failure.message, failure.remedy)]
    if outcome.change is not None:
        words.insert(0, outcome.change.reason)
        state = change_state(outcome.change.state)
    else:
        state = failures[0].reason
    return state, " ".join(word for word in words if word)


def _are_cited(claims: list[Claim]) -> bool:
    return bool(claims) and all(claim.evidence for claim in claims)
