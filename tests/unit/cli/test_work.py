from __future__ import annotations

import threading
from uuid import UUID

import pytest

from morningai.api.answers.v1 import answers_pb2
from morningai.api.tasks.v1 import tasks_pb2
from morningai.errors import InvalidInput, NotFound, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import COMMIT, TASK, TRACE, Script, provenance, step


def test_an_answer_is_shown_with_its_citations_engine_and_commit(tenant_cli: Cli) -> None:
    said = tenant_cli("ask", "How?", "--source", "shop")

    assert said.code == 0
    assert "The gateway is the one public door." in said.out
    assert f"README.md:1-4 @{COMMIT[:7]}" in said.out
    assert "engine extractive · no model" in said.out
    assert f"succeeded · {TASK} · trace {TRACE}" in said.out


def test_off_a_terminal_nothing_is_coloured(tenant_cli: Cli) -> None:
    said = tenant_cli("ask", "How?", "--source", "shop")

    assert "\x1b" not in said.out + said.err


def test_each_step_is_a_line_of_progress_on_standard_error(tenant_cli: Cli) -> None:
    said = tenant_cli("ask", "How?", "--source", "shop")

    assert "index (docs) succeeded in 0.40 s: done" in said.err
    assert "answer (faqgen) succeeded" in said.err


def test_as_json_standard_output_is_one_document_and_standard_error_empty(tenant_cli: Cli) -> None:
    said = tenant_cli("ask", "How?", "--source", "shop", "--json")

    assert said.json["task"]["trace_id"] == TRACE  # type: ignore[index]
    assert said.json["answer"]["claims"][0]["evidence"][0]["start_line"] == 1  # type: ignore[index]
    assert said.err == ""


def test_more_results_are_asked_for_in_the_same_task(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("ask", "How?", "--source", "shop", "--with", "faq", "--with", "document", "--with", "faq")

    assert list(script.tasks_created[0].task.kinds) == [1, 2, 3]


@pytest.mark.parametrize("command", ["ask", "faq", "change"])
def test_a_task_has_the_priority_that_was_asked_for(tenant_cli: Cli, script: Script, command: str) -> None:
    tenant_cli(command, "How?", "--source", "shop", "--priority", "high")

    assert script.tasks_created[0].task.priority == tasks_pb2.TASK_PRIORITY_HIGH


@pytest.mark.parametrize("command", ["ask", "faq", "change"])
def test_a_task_has_the_time_to_live_that_was_asked_for(tenant_cli: Cli, script: Script, command: str) -> None:
    tenant_cli(command, "How?", "--source", "shop", "--ttl", "30m")

    assert script.tasks_created[0].task.ttl.seconds == 1800


def test_a_task_without_a_time_to_live_may_take_any_time(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("ask", "How?", "--source", "shop")

    assert not script.tasks_created[0].task.HasField("ttl")


def test_a_time_to_live_that_is_no_duration_is_refused(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("ask", "How?", "--source", "shop", "--ttl", "soon")

    assert (said.code, script.tasks_created) == (2, [])
    assert "--ttl" in said.err


def test_the_only_source_needs_no_name(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("ask", "How?")

    assert script.tasks_created[0].task.source == "sources/shop"


def test_without_a_source_the_command_that_adds_one_is_named(tenant_cli: Cli, script: Script) -> None:
    script.sources = []

    said = tenant_cli("ask", "How?")

    assert said.code == 2
    assert "morningai source add" in said.err


def test_a_creation_is_repeated_with_the_same_request_id(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateTask"] = [Unavailable("docs is away."), Unavailable("docs is away.")]

    said = tenant_cli("ask", "How?", "--source", "shop")

    ids = {request.request_id for request in script.requests("CreateTask")}  # type: ignore[attr-defined]
    assert said.code == 0
    assert len(script.requests("CreateTask")) == 3
    assert len(ids) == 1
    assert UUID(ids.pop())


def test_two_creations_have_different_request_ids(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("ask", "How?", "--source", "shop")
    tenant_cli("ask", "How?", "--source", "shop")

    assert script.tasks_created[0].request_id != script.tasks_created[1].request_id


def test_repetitions_are_bounded(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateTask"] = [Unavailable("docs is away.", remedy="Wait.")] * 9

    said = tenant_cli("ask", "How?", "--source", "shop", "--json")

    assert said.code == 5
    assert len(script.requests("CreateTask")) == 4
    assert said.error["reason"] == "UNAVAILABLE"


def test_a_refused_field_is_named_with_its_remedy(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateTask"] = [InvalidInput("task.instruction", "has 9000 characters.", remedy="Say less.")]

    said = tenant_cli("ask", "How?", "--source", "shop", "--json")

    assert said.code == 2
    assert said.out == ""
    assert said.error == {
        "reason": "INVALID_INPUT",
        "message": "task.instruction: has 9000 characters.",
        "field": "task.instruction",
        "remedy": "Say less.",
        "next_step": "",
        "exit_code": 2,
    }


def test_a_missing_source_is_told_with_the_remedy(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateTask"] = [NotFound("task.source", "sources/x", remedy="Add it.")]

    said = tenant_cli("ask", "How?", "--source", "x")

    assert said.code == 1
    assert "error: task.source 'sources/x' does not exist." in said.err
    assert "remedy: Add it." in said.err


def test_an_empty_question_is_refused_before_anything_is_sent(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("ask", "  ", "--source", "shop")

    assert said.code == 2
    assert script.calls == []


def test_a_failed_task_exits_1_with_the_reason_and_the_remedy(tenant_cli: Cli, script: Script) -> None:
    script.steps = [step("change", "codegen", end=1, failure="model_unavailable")]
    script.end_state = tasks_pb2.TASK_STATE_FAILED

    said = tenant_cli("change", "Fix it.", "--source", "shop")

    assert said.code == 1
    assert "change: It did not work. (model_unavailable)" in said.out
    assert "Do that." in said.out


def test_a_task_that_succeeded_partly_exits_6(tenant_cli: Cli, script: Script) -> None:
    script.steps.append(step("faq", "faqgen", end=1, failure="nothing_found"))
    script.end_state = tasks_pb2.TASK_STATE_PARTLY_SUCCEEDED

    said = tenant_cli("ask", "How?", "--source", "shop", "--with", "faq")

    assert said.code == 6
    assert "The gateway is the one public door." in said.out


def test_an_answer_that_was_not_found_says_what_was_searched(tenant_cli: Cli, script: Script) -> None:
    script.answer = answers_pb2.Answer(question="How?", searched=["order", "store"], provenance=provenance())

    said = tenant_cli("ask", "How?", "--source", "shop")

    assert "Not found in the sources." in said.out
    assert "Searched: order, store" in said.out


def test_text_from_a_repository_cannot_steer_the_terminal(tenant_cli: Cli, script: Script) -> None:
    script.answer.claims[0].text = "harmless\x1b]0;title\x07\x9b31m\u202e"

    said = tenant_cli("ask", "How?", "--source", "shop")

    assert "harmless\\x1b]0;title\\x07\\x9b31m\\u202e" in said.out


def test_an_faq_is_numbered(tenant_cli: Cli, script: Script) -> None:
    script.steps = [step("faq", "faqgen", end=1, result="faqs/1")]

    said = tenant_cli("faq", "orders", "--source", "shop")

    assert "5. Question 4?" in said.out


def test_a_change_is_shown_with_state_reason_and_diff(tenant_cli: Cli, script: Script) -> None:
    script.steps = [step("change", "codegen", end=1, result="changes/1")]

    said = tenant_cli("change", "Fix it.", "--source", "shop")

    assert "state   verified" in said.out
    assert "reason  Every expected test passed." in said.out
    assert "test    test_a.py::test_x: failed → passed" in said.out
    assert "\n-x = 1\n+x = 2\n" in said.out


def test_ctrl_c_says_that_the_task_goes_on(tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script.endless = True
    threading.Timer(1.5, _interrupt).start()

    said = tenant_cli("ask", "How?", "--source", "shop", "--json")

    assert said.code == 130
    assert said.out == ""
    assert f"morningai task watch {TASK}" in str(said.error["next_step"])
    assert f"morningai task cancel {TASK}" in str(said.error["next_step"])


def _interrupt() -> None:
    import _thread

    _thread.interrupt_main()


def test_a_change_is_delivered_where_it_is_asked_for(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("change", "Round half up.", "--source", "shop")
    tenant_cli("change", "Round half up.", "--source", "shop", "--deliver")
    tenant_cli("change", "Round half up.", "--source", "shop", "--deliver", "--branch", "fix/rounding")

    asked = [request.task for request in script.requests("CreateTask")]  # type: ignore[attr-defined]
    assert [task.delivery.branch if task.HasField("delivery") else None for task in asked] == [None, "", "fix/rounding"]


def test_a_branch_without_a_delivery_is_refused(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("change", "Round half up.", "--source", "shop", "--branch", "fix/rounding")

    assert said.code == 2
    assert "Add --deliver to push the change." in said.err
    assert script.requests("CreateTask") == []
