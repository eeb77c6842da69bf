"""Changes by a scripted model: a right one is verified, and nothing else is called so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.outcome import Outcome
from morningai.testing.model_script import ScriptedReply
from tests.e2e.model import ScriptedModel
from tests.e2e.platform import Tenant
from tests.e2e.replies import ADDS, RIGHT_FUNCTION, edit
from tests.e2e.repositories import calculator, make_repository

pytestmark = pytest.mark.xdist_group("shared")

RIGHT = edit("calculator.py", "    return a - b", ADDS)
EDITS_THE_TEST = edit("test_calculator.py", "    assert add(2, 3) == 5", "    assert add(2, 3) == -1")
ADDS_A_TEST = edit(
    "test_calculator.py",
    "    assert double(4) == 8",
    "    assert double(4) == 8\n\n\ndef test_add_nothing():\n    assert add(2, 0) == 2",
)
BREAKS_ANOTHER = RIGHT + edit("calculator.py", "    return a * 2", "    return a * 3")
ROGUE_CONFTEST = edit(
    "conftest.py",
    "",
    "import pytest\n\n\n"
    "@pytest.hookimpl(hookwrapper=True)\n"
    "def pytest_runtest_makereport(item, call):\n"
    "    outcome = yield\n"
    "    report = outcome.get_result()\n"
    '    report.outcome = "passed"\n'
    "    report.longrepr = None",
)


def change(tenant: Tenant, word: str, files: Mapping[str, str], folder: Path) -> Outcome:
    source = tenant.add_source(make_repository(folder / "repository", files))
    return tenant.run(f"Make the tests of {word} pass.", source, "change")


@pytest.mark.parametrize("reply", [RIGHT, RIGHT_FUNCTION.content], ids=["as an edit block", "as a function"])
def test_a_right_patch_is_verified(tenant: Tenant, model: ScriptedModel, word: str, reply: str, tmp_path: Path) -> None:
    model.teach(word, replies=(ScriptedReply(content=reply),))

    outcome = change(tenant, word, calculator(word), tmp_path)

    assert outcome.task.state == tasks.TASK_STATE_SUCCEEDED
    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_VERIFIED, outcome.change.reason
    assert f"+{ADDS}" in outcome.change.patch
    assert {test.test_id.partition("::")[2]: (test.before, test.after) for test in outcome.change.tests} == {
        "test_add": ("failed", "passed"),
        "test_double": ("passed", "passed"),
    }
    assert outcome.change.provenance.trace_id == outcome.task.trace_id
    assert outcome.change.provenance.model == "scripted-model"
    assert len(model.calls(word)) == 1


def test_a_wrong_patch_is_followed_by_a_right_one(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    wrong = edit("calculator.py", "    return a - b", "    return a * b")
    model.teach(word, replies=(ScriptedReply(content=wrong), ScriptedReply(content=RIGHT)))

    outcome = change(tenant, word, calculator(word), tmp_path)

    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_VERIFIED, outcome.change.reason
    assert outcome.change.attempts == 2


REFUSED = {
    "breaks another test": (BREAKS_ANOTHER, "test_double"),
    "adds a rogue conftest.py": (ROGUE_CONFTEST, "conftest.py would change how tests are run"),
    "adds a rogue conftest.py beside the fix": (RIGHT + ROGUE_CONFTEST, "conftest.py would change how tests are run"),
    "edits the test": (EDITS_THE_TEST, "only because the patch changes them"),
    "edits the test beside the fix": (RIGHT + EDITS_THE_TEST, "test_add"),
    "is garbage": ("I would rather talk about the weather.", "not valid Python"),
    "is no Python": ("```python\nnot ( python\n```", "not valid Python"),
}


@pytest.mark.parametrize(("reply", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_patch_that_does_not_hold_fails_with_the_reason(
    tenant: Tenant, model: ScriptedModel, word: str, reply: str, reason: str, tmp_path: Path
) -> None:
    model.teach(word, replies=(ScriptedReply(content=reply),))

    outcome = change(tenant, word, calculator(word), tmp_path)

    assert outcome.task.state == tasks.TASK_STATE_FAILED
    assert outcome.task.failure.reason == "failed"
    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_FAILED
    assert reason in outcome.change.reason


def test_a_patch_that_adds_a_test_says_that_it_changes_tests(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    model.teach(word, replies=(ScriptedReply(content=RIGHT + ADDS_A_TEST),))

    outcome = change(tenant, word, calculator(word), tmp_path)

    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_VERIFIED_WITH_TEST_CHANGES, outcome.change.reason


def test_a_model_that_answers_nothing_makes_no_change(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    model.teach(word, replies=(ScriptedReply(content=""),))

    outcome = change(tenant, word, calculator(word), tmp_path)

    assert outcome.task.state == tasks.TASK_STATE_FAILED
    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_FAILED
    assert not outcome.change.patch


def test_a_model_that_fails_for_a_while_is_asked_again(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    failures = (ScriptedReply(status=500),) * 5
    model.teach(word, replies=(*failures, ScriptedReply(content=RIGHT)))

    outcome = change(tenant, word, calculator(word), tmp_path)

    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_VERIFIED, outcome.change.reason
    assert [call.status for call in model.calls(word)] == [500, 500, 500, 500, 500, 200]


def test_a_repository_without_tests_is_changed_without_being_verified(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    model.teach(word, replies=(ScriptedReply(content=RIGHT),))
    files = {path: text for path, text in calculator(word).items() if not path.startswith("test_")}

    outcome = change(tenant, word, files, tmp_path)

    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_UNVERIFIED_NO_TESTS
    assert f"+{ADDS}" in outcome.change.patch
