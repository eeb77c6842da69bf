"""Whole changes, with a scripted model: right patches, wrong ones, and every cheat that is to be noticed."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

import pytest

from morningai.llm import BudgetExhausted, Completion, Prompt
from services.codegen.domain.changes import Outcome, State
from services.codegen.sandbox import Sandbox
from services.codegen.suite import Suite
from services.codegen.workflow import Budget
from tests.integration.codegen.workshop import (
    LIMITS,
    RecordedSteps,
    ScriptedModel,
    UnwatchedWork,
    Workshop,
    tree_after_git_apply,
)

CALC = "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return a * 2\n"
TESTS = (
    "from calc import add, double\n\n\ndef test_add():\n    assert add(2, 3) == 5\n\n\n"
    "def test_double():\n    assert double(4) == 8\n"
)
FILES = {"calc.py": CALC, "tests/test_calc.py": TESTS, "README.md": "# Calc\n"}
RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"


def block(path: str, search: str, replace: str) -> str:
    return f"{path}\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


RIGHT_BLOCK = block("calc.py", "    return a - b", "    return a + b")


class ModelWithoutBudget(ScriptedModel):
    async def complete_text(self, prompt: Prompt, max_output_tokens: int, *, temperature: float) -> Completion[str]:
        raise BudgetExhausted("tokens_per_day")


async def test_a_right_patch_is_verified(workshop: Workshop) -> None:
    change = await workshop.change(FILES, ScriptedModel([RIGHT]))

    assert change.state is State.VERIFIED
    assert "-    return a - b\n+    return a + b\n" in change.patch
    assert change.evidence.restored is not None
    assert change.evidence.restored.outcomes == {
        "tests/test_calc.py::test_add": Outcome.PASSED,
        "tests/test_calc.py::test_double": Outcome.PASSED,
    }


async def test_the_patch_applies_to_the_commit_with_plain_git(workshop: Workshop) -> None:
    change = await workshop.change(FILES, ScriptedModel([RIGHT]))
    origin = workshop.folder / "origin"

    assert tree_after_git_apply(origin, change.patch) == change.evidence.tree


async def test_a_failure_is_fed_back_and_the_second_attempt_is_verified(workshop: Workshop) -> None:
    model = ScriptedModel(["```python\ndef add(a, b):\n    return a * b\n```", RIGHT_BLOCK])
    change = await workshop.change(FILES, model, budget=Budget(attempts=3))

    assert (change.state, change.attempts) == (State.VERIFIED, 2)
    assert "assert 6 == 5" in model.prompts[1].user


async def test_a_patch_that_only_edits_the_test_fails(workshop: Workshop) -> None:
    cheat = block("tests/test_calc.py", "    assert add(2, 3) == 5", "    assert add(2, 3) == -1")
    change = await workshop.change(FILES, ScriptedModel([cheat]))

    assert change.state is State.FAILED
    assert "only because the patch changes them" in change.reason


async def test_a_right_patch_that_also_adds_a_test_is_verified_with_test_changes(workshop: Workshop) -> None:
    test = block("tests/test_more.py", "", "from calc import add\n\n\ndef test_zero():\n    assert add(0, 0) == 0")
    change = await workshop.change(FILES, ScriptedModel([RIGHT_BLOCK + test]))

    assert change.state is State.VERIFIED_WITH_TEST_CHANGES
    assert change.evidence.restored_files == ("tests/test_more.py",)


async def test_a_patch_that_breaks_another_test_fails(workshop: Workshop) -> None:
    broken = RIGHT_BLOCK + block("calc.py", "    return a * 2", "    return a * 3")
    change = await workshop.change(FILES, ScriptedModel([broken]))

    assert change.state is State.FAILED
    assert "test_double" in change.reason


@pytest.mark.parametrize("path", ["conftest.py", "tests/conftest.py", "pytest.ini", "sitecustomize.py", "random.py"])
async def test_a_patch_that_adds_a_file_which_rules_the_tests_is_refused(workshop: Workshop, path: str) -> None:
    rogue = (
        "import pytest\n\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
        "    outcome = yield\n    outcome.get_result().outcome = 'passed'\n"
    )
    change = await workshop.change(FILES, ScriptedModel([block(path, "", rogue)]))

    assert change.state is State.FAILED
    assert f"{path} would" in change.reason
    assert change.patch == ""


async def test_a_rogue_conftest_in_place_of_one_that_exists_changes_no_outcome(workshop: Workshop) -> None:
    rogue = "def pytest_pyfunc_call(pyfuncitem):\n    return True"
    files = {**FILES, "conftest.py": "SETTING = 1\n"}
    change = await workshop.change(files, ScriptedModel([block("conftest.py", "SETTING = 1", rogue)]))

    assert change.state is State.FAILED
    assert "only because the patch changes them" in change.reason


@pytest.mark.parametrize(
    "cheat",
    [
        "import os\nos._exit(0)\n",
        "import sys\nsys.exit(0)\n",
        "import unittest\nraise unittest.SkipTest('no')\n",
        "import os, threading\nthreading.Timer(0.0, os._exit, [0]).start()\nimport time; time.sleep(1)\n",
    ],
)
async def test_code_that_ends_or_skips_the_test_run_is_not_verified(workshop: Workshop, cheat: str) -> None:
    patch = block("calc.py", "def add(a, b):\n    return a - b", f"{cheat}\n\ndef add(a, b):\n    return a - b")
    change = await workshop.change(FILES, ScriptedModel([patch]))

    assert change.state is State.FAILED


async def test_a_report_that_is_forged_without_a_trace_in_the_text_is_not_believed(workshop: Workshop) -> None:
    forging = (
        "import os, sys\n\nframe = getattr(sys, '_get' + 'frame')()\n"
        "def names(): return getattr(frame, 'f_' + 'locals')\n"
        "while 'send' not in names(): frame = getattr(frame, 'f_' + 'back')\n"
        "for test in ('test_add', 'test_double'):\n    for when in ('setup', 'call', 'teardown'):\n"
        "        names()['send'](kind='phase', id=f'tests/test_calc.py::{test}', when=when, outcome='passed')\n"
        "names()['send'](kind='end', exit_code=0)\nos._exit(0)\n\n\ndef add(a, b):"
    )
    change = await workshop.change(FILES, ScriptedModel([block("calc.py", "def add(a, b):", forging)]))

    assert change.state is State.FAILED
    assert "not to be believed" in change.reason


async def test_a_plugin_of_the_tests_that_is_edited_changes_no_outcome(workshop: Workshop) -> None:
    files = {**FILES, "conftest.py": "pytest_plugins = ['support']\n", "support.py": "import pytest\n"}
    rogue = "import pytest\n\n\ndef pytest_pyfunc_call(pyfuncitem):\n    return True"
    change = await workshop.change(files, ScriptedModel([block("support.py", "import pytest", rogue)]))

    assert change.state is State.FAILED
    assert "only because the patch changes them" in change.reason


async def test_expected_data_in_a_folder_of_test_data_is_restored(workshop: Workshop) -> None:
    test = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == int(open('testdata/five').read())\n"
    files = {"calc.py": CALC, "test_calc.py": test, "testdata/five": "5\n"}
    change = await workshop.change(files, ScriptedModel([block("testdata/five", "5", "-1")]))

    assert change.state is State.FAILED
    assert "only because the patch changes them" in change.reason


async def test_code_that_reaches_for_the_test_runner_is_refused(workshop: Workshop) -> None:
    patch = block("calc.py", "def add(a, b):", "import _pytest.runner\n\n\ndef add(a, b):")
    change = await workshop.change(FILES, ScriptedModel([patch]))

    assert change.state is State.FAILED
    assert "may not reach for the test runner" in change.reason


@pytest.mark.parametrize("path", ["../outside.py", "/etc/cron.d/job", ".git/hooks/post-checkout", "a/../../b.py"])
async def test_an_edit_outside_the_repository_is_refused(workshop: Workshop, path: str) -> None:
    change = await workshop.change(FILES, ScriptedModel([block(path, "", "x = 1")]))

    assert change.state is State.FAILED
    assert "The path" in change.reason


async def test_a_repository_without_tests_is_unverified(workshop: Workshop) -> None:
    change = await workshop.change({"calc.py": CALC}, ScriptedModel([RIGHT_BLOCK]), instruction="Fix add in calc.py.")

    assert change.state is State.UNVERIFIED_NO_TESTS
    assert "no tests" in change.reason
    assert change.patch


async def test_a_repository_whose_tests_are_all_skipped_is_unverified(workshop: Workshop) -> None:
    files = {**FILES, "tests/test_calc.py": "import pytest\n\npytest.skip('later', allow_module_level=True)\n"}
    change = await workshop.change(files, ScriptedModel([RIGHT_BLOCK]))

    assert change.state is State.UNVERIFIED_NO_TESTS


async def test_a_change_that_no_test_asks_for_is_not_called_verified(workshop: Workshop) -> None:
    files = {**FILES, "calc.py": CALC.replace("a - b", "a + b")}
    change = await workshop.change(files, ScriptedModel([block("README.md", "# Calc", "# Calculator")]))

    assert change.state is State.UNVERIFIED_NO_TESTS
    assert "No test asked for this change" in change.reason


@pytest.mark.parametrize(
    ("test", "state"),
    [
        (
            "from calc import triple\n\n\ndef test_triple():\n    assert triple(2) == 6",
            State.VERIFIED_WITH_TEST_CHANGES,
        ),
        ("from calc import double\n\n\ndef test_again():\n    assert double(2) == 4", State.UNVERIFIED_NO_TESTS),
        ("# none", State.UNVERIFIED_NO_TESTS),
    ],
    ids=["fails without the code", "passes without the code", "has no test"],
)
async def test_a_new_feature_is_verified_only_by_a_test_that_needs_it(
    workshop: Workshop, test: str, state: State
) -> None:
    files = {**FILES, "calc.py": CALC.replace("a - b", "a + b")}
    feature = block("calc.py", "def double(a):", "def triple(a):\n    return a * 3\n\n\ndef double(a):")
    change = await workshop.change(files, ScriptedModel([feature + block("tests/test_more.py", "", test)]))

    assert change.state is state


async def test_tests_that_cannot_be_imported_before_must_be_collected_and_pass(workshop: Workshop) -> None:
    files = {
        **FILES,
        "tests/test_new.py": "from calc import triple\n\n\ndef test_triple():\n    assert triple(2) == 6\n",
    }
    triple = block("calc.py", "def double(a):", "def triple(a):\n    return a * 3\n\n\ndef double(a):")
    change = await workshop.change(files, ScriptedModel([RIGHT_BLOCK + triple]))

    assert change.state is State.VERIFIED
    assert "tests/test_new.py" in change.evidence.expected


async def test_unittest_tests_are_run_too(workshop: Workshop) -> None:
    test = (
        "import unittest\n\nfrom calc import add\n\n\nclass AddTest(unittest.TestCase):\n"
        "    def test_add(self):\n        self.assertEqual(add(1, 1), 2)\n"
    )
    change = await workshop.change({"src/calc.py": CALC, "tests/test_add.py": test}, ScriptedModel([RIGHT]))

    assert change.state is State.VERIFIED


async def test_a_flaky_test_is_noted_and_decides_nothing(workshop: Workshop) -> None:
    flaky = "import uuid\n\n\ndef test_luck():\n    assert uuid.uuid4().int % {odds} == 0\n"
    steps = RecordedSteps()
    files = {**FILES, "tests/test_luck.py": flaky.format(odds=10**9)}
    await workshop.change(files, ScriptedModel([RIGHT]), steps=steps)
    lucky = steps.records["baseline", 0].replace(
        '"tests/test_luck.py::test_luck":"failed"', '"tests/test_luck.py::test_luck":"passed"', 1
    )
    again = await Workshop(workshop.suite, workshop.folder / "again").change(
        files, ScriptedModel([RIGHT]), steps=RecordedSteps({("baseline", 0): lucky})
    )

    assert again.evidence.flaky == ("tests/test_luck.py::test_luck",)
    assert again.state is State.VERIFIED


@pytest.mark.parametrize("reply", ["", "I am sorry, I cannot.", "```python\ndef add(a, b:\n```", "```\n{}\n```"])
async def test_a_reply_that_is_no_edit_ends_as_failed_with_the_reason(workshop: Workshop, reply: str) -> None:
    change = await workshop.change(FILES, ScriptedModel([reply]), budget=Budget(attempts=2))

    assert (change.state, change.attempts) == (State.FAILED, 2)
    assert change.reason.startswith("No attempt of 2 held.")


async def test_the_token_budget_ends_the_attempts(workshop: Workshop) -> None:
    model = ScriptedModel(["nothing"], tokens_of_a_call=600)
    change = await workshop.change(FILES, model, budget=Budget(attempts=9, tokens=1_000))

    assert (change.state, len(model.prompts)) == (State.BUDGET_EXHAUSTED, 2)


async def test_the_tenant_s_budget_ends_the_change_with_its_remedy(workshop: Workshop) -> None:
    change = await workshop.change(FILES, ModelWithoutBudget(["nothing"]))

    assert (change.state, change.attempts) == (State.BUDGET_EXHAUSTED, 1)
    assert "tokens_per_day" in change.reason
    assert "the next day begins" in change.reason


async def test_the_time_budget_goes_on_through_a_crash(workshop: Workshop) -> None:
    steps, model = RecordedSteps({("start", 0): str(time.time() - 60)}), ScriptedModel([RIGHT])
    change = await workshop.change(FILES, model, steps=steps, budget=Budget(seconds=59))

    assert (change.state, model.prompts) == (State.BUDGET_EXHAUSTED, [])


async def test_an_attempt_that_was_made_in_time_holds_after_a_crash(workshop: Workshop) -> None:
    steps = RecordedSteps()
    await workshop.change(FILES, ScriptedModel([RIGHT]), steps=steps)
    steps.records["start", 0] = str(time.time() - 60)
    again = Workshop(workshop.suite, workshop.folder / "again")
    change = await again.change(FILES, ScriptedModel(["never used"]), steps=steps, budget=Budget(seconds=59))

    assert change.state is State.VERIFIED


async def test_a_sandbox_that_does_not_start_ends_the_change(workshop: Workshop, sandbox: Sandbox) -> None:
    host = dataclasses.replace(sandbox.host, bwrap=Path("/bin/false"))
    broken = Workshop(Suite(dataclasses.replace(sandbox, host=host), LIMITS), workshop.folder)
    change = await broken.change(FILES, ScriptedModel([RIGHT]))

    assert change.state is State.SANDBOX_UNAVAILABLE


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"pytest.ini": "[pytest]\nrequired_plugins = pytest-nowhere\n"}, "Missing required plugins: pytest-nowhere"),
        ({"conftest.py": "import nowhere\n"}, "No module named 'nowhere'"),
        ({"tests/test_calc.py": "import nowhere\n"}, "Packages that the repository depends on are not installed"),
    ],
    ids=["a plugin", "in conftest.py", "in a test"],
)
async def test_what_is_not_installed_is_named_in_the_reason(
    workshop: Workshop, files: dict[str, str], reason: str
) -> None:
    change = await workshop.change({**FILES, **files}, ScriptedModel([RIGHT]))

    assert change.state is State.FAILED
    assert reason in change.reason


async def test_tests_that_never_end_are_stopped_and_named(workshop: Workshop) -> None:
    quick = Workshop(Suite(workshop.suite.sandbox, dataclasses.replace(LIMITS, wall_seconds=1.5)), workshop.folder)
    loop = block("calc.py", "    return a - b", "    while True:\n        pass")
    change = await quick.change(FILES, ScriptedModel([loop]))

    assert change.state is State.FAILED
    assert "timed out" in change.reason


async def test_a_recorded_reply_is_not_asked_for_again(workshop: Workshop) -> None:
    steps, first, second = RecordedSteps(), ScriptedModel([RIGHT]), ScriptedModel(["never used"])
    before = await workshop.change(FILES, first, steps=steps)
    after = await Workshop(workshop.suite, workshop.folder / "again").change(FILES, second, steps=steps)

    assert second.prompts == []
    assert (after.state, after.patch) == (before.state, before.patch)


async def test_a_cancelled_change_stops_and_leaves_nothing_behind(workshop: Workshop) -> None:
    class CancelledWork(UnwatchedWork):
        async def checkpoint(self, progress: float, text: str) -> None:
            if "asking" in text:
                raise asyncio.CancelledError

    model = ScriptedModel([RIGHT])
    with pytest.raises(asyncio.CancelledError):
        await workshop.change(FILES, model, work=CancelledWork())

    assert model.prompts == []
    assert not list(workshop.suite.sandbox.folder.glob("change-*"))
