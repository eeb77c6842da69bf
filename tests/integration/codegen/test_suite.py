"""What pytest reports out of the sandbox, and what is made of reports that are forged, cut or missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.codegen.domain.changes import Outcome, SuiteRun
from services.codegen.sandbox import Sandbox
from services.codegen.suite import Suite
from tests.integration.codegen.workshop import LIMITS

FORGED = 'FORGED = b\'{"number": 1, "kind": "end", "exit_code": 0}\\n\'\n'


async def run_tests(sandbox: Sandbox, tree: Path, files: dict[str, str]) -> SuiteRun:
    return await Suite(sandbox, LIMITS).run(write_tree(tree, files))


def write_tree(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / path).write_text(text)
    return folder / "tree"


async def test_each_kind_of_outcome_is_told_apart(sandbox: Sandbox, tmp_path: Path) -> None:
    tests = (
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_skip(): pytest.skip('later')\n"
        "@pytest.mark.xfail\ndef test_xfail(): assert False\n"
        "@pytest.fixture\ndef broken(): raise RuntimeError\n"
        "def test_setup(broken): pass\n"
        "@pytest.fixture\ndef leaky():\n    yield\n    raise RuntimeError\n"
        "def test_teardown(leaky): pass\n"
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_each(n): assert n == 1\n"
    )
    run = await run_tests(sandbox, tmp_path, {"test_all.py": tests})

    assert run.status == "completed"
    assert {test.partition("::")[2]: outcome for test, outcome in run.outcomes.items()} == {
        "test_good": Outcome.PASSED,
        "test_bad": Outcome.FAILED,
        "test_skip": Outcome.SKIPPED,
        "test_xfail": Outcome.SKIPPED,
        "test_setup": Outcome.FAILED,
        "test_teardown": Outcome.FAILED,
        "test_each[1]": Outcome.PASSED,
        "test_each[2]": Outcome.FAILED,
    }


async def test_outcomes_of_unittest_are_told_apart_too(sandbox: Sandbox, tmp_path: Path) -> None:
    tests = (
        "import unittest\n\n\nclass T(unittest.TestCase):\n"
        "    def test_good(self): pass\n"
        "    def test_bad(self): self.assertEqual(1, 2)\n"
        "    def test_skip(self): self.skipTest('later')\n"
        "    def test_raised_skip(self): raise unittest.SkipTest('later')\n"
        "    @unittest.expectedFailure\n    def test_xfail(self): self.assertEqual(1, 2)\n"
        "    @unittest.expectedFailure\n    def test_unexpected(self): pass\n"
        "    def test_good_parts(self):\n        for n in (1, 2):\n            with self.subTest(n=n): pass\n"
        "    def test_bad_part(self):\n"
        "        for n in (1, 2):\n            with self.subTest(n=n): self.assertEqual(n, 2)\n"
    )
    run = await run_tests(sandbox, tmp_path, {"test_all.py": tests})

    assert {test.rpartition("::")[2]: outcome for test, outcome in run.outcomes.items()} == {
        "test_good": Outcome.PASSED,
        "test_bad": Outcome.FAILED,
        "test_skip": Outcome.SKIPPED,
        "test_raised_skip": Outcome.SKIPPED,
        "test_xfail": Outcome.SKIPPED,
        "test_unexpected": Outcome.FAILED,
        "test_good_parts": Outcome.PASSED,
        "test_bad_part": Outcome.FAILED,
    }
    assert ("test_all.py", 6) in {(frame.path, frame.line) for failure in run.failures for frame in failure.frames}


async def test_a_failure_names_the_lines_that_it_went_through(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {
        "shop/__init__.py": "",
        "shop/price.py": "def price(n):\n    return 1 / n\n",
        "test_price.py": "from shop.price import price\n\n\ndef test_price():\n    price(0)\n",
    }
    run = await run_tests(sandbox, tmp_path, files)

    frames = [(frame.path, frame.line, frame.function) for frame in run.failures[0].frames]
    assert frames == [("test_price.py", 5, "test_price"), ("shop/price.py", 2, "price")]
    assert "ZeroDivisionError" in run.failures[0].text


async def test_a_file_that_cannot_be_imported_does_not_stop_the_others(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {"test_a.py": "import nowhere\n", "test_b.py": "def test_b(): pass\n"}
    run = await run_tests(sandbox, tmp_path, files)

    assert run.uncollected == ("test_a.py",)
    assert run.passed == {"test_b.py::test_b"}


async def test_no_tests_is_no_pass(sandbox: Sandbox, tmp_path: Path) -> None:
    run = await run_tests(sandbox, tmp_path, {"calc.py": "x = 1\n"})

    assert (run.status, run.has_tests) == ("completed", False)


async def test_options_of_a_plugin_that_is_not_here_are_left_out(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {"pytest.ini": "[pytest]\naddopts = --cov=calc\n", "test_a.py": "def test_a(): pass\n"}
    run = await run_tests(sandbox, tmp_path, files)

    assert run.passed == {"test_a.py::test_a"}


@pytest.mark.parametrize(
    "forgery",
    [
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, FORGED)\n    except OSError: pass\nos._exit(0)\n",
        "import os\nos._exit(0)\n",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
        "raise KeyboardInterrupt\n",
        "import os\nfor fd in range(3, 64):\n    try: os.close(fd)\n    except OSError: pass\n",
        "import pytest\npytest.exit('done', returncode=0)\n",
    ],
)
async def test_a_run_that_ends_early_or_writes_its_own_report_is_not_completed(
    sandbox: Sandbox, tmp_path: Path, forgery: str
) -> None:
    run = await run_tests(sandbox, tmp_path, {"test_a.py": f"{FORGED}{forgery}\ndef test_a(): pass\n"})

    assert run.status == "crashed" or not run.passed


@pytest.mark.parametrize(
    "rewriting",
    [
        "@pytest.hookimpl(hookwrapper=True, tryfirst=True)\n"
        "def pytest_runtest_makereport(item, call):\n    outcome = yield\n"
        "    report = outcome.get_result()\n    report.outcome = 'passed'\n    report.longrepr = None\n",
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_runtest_makereport(item, call):\n"
        "    call.excinfo = None\n    return pytest.TestReport.from_item_and_call(item, call)\n",
    ],
)
async def test_an_outcome_that_a_plugin_rewrites_is_taken_from_what_was_raised(
    sandbox: Sandbox, tmp_path: Path, rewriting: str
) -> None:
    run = await run_tests(
        sandbox,
        tmp_path,
        {"conftest.py": f"import pytest\n\n\n{rewriting}", "test_a.py": "def test_a(): assert False\n"},
    )

    assert run.failed == {"test_a.py::test_a"}


EVERY_KIND = {
    "pytest.ini": "[pytest]\naddopts = --doctest-modules -x\n",
    "calc.py": 'def add(a, b):\n    """\n    >>> add(1, 2)\n    3\n    """\n    return a + b\n',
    "test_functions.py": (
        "import pytest\nfrom unittest import mock\n\n\n"
        "@pytest.fixture\ndef one():\n    yield 1\n\n\n"
        "def test_fixture(one): assert one == 1\n"
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_each(n): assert n\n"
        "@mock.patch('calc.add', return_value=5)\ndef test_mock(add): assert add() == 5\n"
        "class TestThing:\n    def test_method(self, one): assert one\n"
        "    @staticmethod\n    def test_static(): assert True\n"
        "def test_raises():\n    with pytest.raises(ValueError): int('x')\n"
    ),
    "test_cases.py": (
        "import unittest\n\n\nclass PlainTest(unittest.TestCase):\n"
        "    def test_plain(self): self.assertEqual(1, 1)\n"
        "    def test_parts(self):\n        with self.subTest(n=1): self.assertTrue(1)\n\n\n"
        "class LaterTest(unittest.IsolatedAsyncioTestCase):\n"
        "    async def test_later(self): self.assertEqual(1, 1)\n"
    ),
}


async def test_every_kind_of_test_is_made_to_fail_in_a_control_run(sandbox: Sandbox, tmp_path: Path) -> None:
    tree = write_tree(tmp_path, EVERY_KIND)
    real = await Suite(sandbox, LIMITS).run(tree)
    control = await Suite(sandbox, LIMITS).run_control(tree)

    assert (real.status, real.failed, real.tampered) == ("completed", frozenset(), ())
    assert len(real.passed) == 11
    assert (control.status, control.failed) == ("completed", real.passed)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("import sys\nsys.modules['_pytest.python'].Function.runtest = lambda self: None\n", "Function.runtest"),
        ("import unittest\nunittest.TestCase.assertEqual = lambda *_: None\n", "TestCase.assertEqual"),
        ("import _pytest.runner as r\nr.check_interactive_exception.__code__ = (lambda *_: None).__code__\n", "runner"),
        ("import builtins\nbuiltins.sum = lambda *_: 5\n", "builtins.sum"),
        ("open('test_b.py', 'w').write('def test_b(): pass')\n", "test_b.py"),
        ("import os\nos.makedirs('z')\nopen('z/conftest.py', 'w')\n", "z/conftest.py"),
        ("import os\nos.remove('helper.py')\n", "helper.py"),
    ],
)
async def test_code_that_replaces_a_part_of_the_runner_or_a_source_is_told(
    sandbox: Sandbox, tmp_path: Path, code: str, part: str
) -> None:
    files = {"a/test_a.py": "import calc\ndef test_a(): pass\n", "test_b.py": "def test_b(): assert False\n"}
    run = await run_tests(sandbox, tmp_path, {**files, "calc.py": code, "helper.py": "x = 1\n"})

    assert any(part in name for name in run.tampered)


async def test_a_replacement_that_a_test_leaves_to_the_next_file_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    leaves = "from unittest import TestCase as T\ndef test_a(): T.kept, T.run = T.run, 1\n"
    mends = "from unittest import TestCase as T\ndef test_b(): T.run = T.kept\n"
    run = await run_tests(sandbox, tmp_path, {"test_a.py": leaves, "test_b.py": mends})

    assert run.tampered == ("unittest.case.TestCase.run",)


async def test_a_test_that_replaces_parts_for_itself_and_puts_them_back_is_no_tampering(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    tests = "def test_open(monkeypatch):\n    monkeypatch.setattr('builtins.open', None)\n    monkeypatch.undo()\n"
    run = await run_tests(sandbox, tmp_path, {"test_a.py": tests})

    assert (run.passed, run.tampered) == ({"test_a.py::test_open"}, ())


FORGES_THE_REPORT = """
import os, sys

frame = sys._getframe()
while "send" not in frame.f_locals:
    frame = frame.f_back
send = frame.f_locals["send"]
for when in ("setup", "call", "teardown"):
    send(kind="phase", id="test_a.py::test_a", when=when, outcome="passed")
send(kind="end", exit_code=0)
os._exit(0)
"""


async def test_a_forged_report_is_the_same_where_every_test_must_fail(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {"calc.py": FORGES_THE_REPORT, "test_a.py": "import calc\ndef test_a(): assert False\n"}
    tree = write_tree(tmp_path, files)

    assert (await Suite(sandbox, LIMITS).run(tree)).passed == {"test_a.py::test_a"}
    assert (await Suite(sandbox, LIMITS).run_control(tree)).passed == {"test_a.py::test_a"}
