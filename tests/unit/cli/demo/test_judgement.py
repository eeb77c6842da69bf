from __future__ import annotations

from dataclasses import replace

import pytest

from morningai.api.changes.v1 import changes_pb2
from morningai.api.tasks.v1 import tasks_pb2
from morningai.cli.demo.judgement import shortcomings_of_change, shortcomings_of_main
from morningai.cli.outcome import Outcome
from tests.unit.cli.fake_gateway import Script, answer, change, document, faq, step


def main_outcome() -> Outcome:
    return Outcome(Script().task(), answer=answer(), faq=faq(), document=document())


def refused(reason: str, remedy: str) -> Outcome:
    task = Script(steps=[step("change", "codegen", end=1, failure=reason)]).task()
    task.steps[0].failure.remedy = remedy
    return Outcome(task)


def test_a_full_result_has_no_shortcoming() -> None:
    assert shortcomings_of_main(main_outcome()) == []


def test_a_task_that_succeeded_partly_is_not_enough() -> None:
    task = Script(end_state=tasks_pb2.TASK_STATE_PARTLY_SUCCEEDED).task()

    assert len(shortcomings_of_main(replace(main_outcome(), task=task))) == 1


def test_each_missing_result_is_named() -> None:
    assert len(shortcomings_of_main(Outcome(Script().task()))) == 3


def test_a_claim_without_a_citation_is_a_shortcoming() -> None:
    outcome = main_outcome()
    assert outcome.answer is not None
    del outcome.answer.claims[1].evidence[:]

    assert shortcomings_of_main(outcome) == ["There is no answer whose every claim is cited."]


def test_a_repeated_question_is_counted_once() -> None:
    outcome = main_outcome()
    assert outcome.faq is not None
    outcome.faq.items[1].question = outcome.faq.items[0].question

    assert shortcomings_of_main(outcome) == ["The FAQ has 4 distinct questions, not 5."]


@pytest.mark.parametrize("state", ["VERIFIED", "FAILED", "BUDGET_EXHAUSTED", "SANDBOX_UNAVAILABLE"])
def test_every_honest_state_is_accepted(state: str) -> None:
    made = change()
    made.state = changes_pb2.ChangeState.Value(f"CHANGE_STATE_{state}")

    assert shortcomings_of_change(Outcome(Script().task(), change=made), "llama.cpp") == []


def test_verified_without_a_patch_is_not() -> None:
    made = change()
    made.patch = ""

    assert len(shortcomings_of_change(Outcome(Script().task(), change=made), "llama.cpp")) == 1


def test_without_a_model_a_refusal_that_names_the_command_is_expected() -> None:
    outcome = refused("model_unavailable", "Run `morningai model install`.")

    assert shortcomings_of_change(outcome, "extractive") == []


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [("model_unavailable", "Try again."), ("step_timed_out", "Run `morningai model install`.")],
)
def test_without_a_model_anything_else_is_a_shortcoming(reason: str, remedy: str) -> None:
    assert len(shortcomings_of_change(refused(reason, remedy), "extractive")) == 1
