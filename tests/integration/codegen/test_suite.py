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
    tree = tree / "tree"
    tree.mkdir()
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return await Suite(sandbox, LIMITS).run(tree)


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
