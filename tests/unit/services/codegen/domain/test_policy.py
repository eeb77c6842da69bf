from __future__ import annotations

import pytest

from services.codegen.domain.policy import FileChange, changes_tests, check_patch, check_path, is_protected, is_restored
from services.codegen.errors import EditRefused, PatchRefused


def change(path: str, old: str | None = "x = 1\n", new: str | None = "x = 2\n", **modes: str) -> FileChange:
    return FileChange(
        path=path,
        old_mode=modes.get("old_mode", "100644" if old is not None else None),
        new_mode=modes.get("new_mode", "100644" if new is not None else None),
        old=old.encode() if old is not None else None,
        new=new.encode() if new is not None else None,
    )


@pytest.mark.parametrize(
    "path",
    [
        *("", " ", ".", "/etc/passwd", "~/x", "../x", "a/../x", ".git/config", "a/.GIT/x", ".git./x", "git~1/x"),
        *("a\\b", "C:x", "a\nb", "a\0b", "x" * 300),
    ],
)
def test_a_path_that_could_leave_the_workspace_is_refused(path: str) -> None:
    with pytest.raises(EditRefused):
        check_path(path)


@pytest.mark.parametrize("path", ["a.py", "a/b.py", ".github/workflows/ci.yml", ".gitignore", "a b.py"])
def test_an_ordinary_path_is_taken(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("test_a.py", "a/b_test.py", "tests/data/x.json", "conftest.py", "a/conftest.py", "pytest.ini", "tox.ini"),
        *("setup.cfg", "pyproject.toml", "sitecustomize.py", "test/x.py", "tests.py"),
        *("Tests/x.py", "testdata/x.json", "test_data/x", "a/fixtures/x.sql", "unit_tests/x.py", "Test_a.py"),
    ],
)
def test_tests_and_what_configures_them_are_protected(path: str) -> None:
    assert is_protected(path)


@pytest.mark.parametrize("path", ["calc.py", "src/latest.py", "attest/x.py", "README.md", "contest.py"])
def test_other_files_are_not_protected(path: str) -> None:
    assert not is_protected(path)


def test_a_file_that_reported_tests_is_protected_whatever_its_name() -> None:
    assert is_protected("checks.py", frozenset({"checks.py"}))


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        (change("pyproject.toml", "[project]\nname = 'a'", "[project]\nname = 'b'"), False),
        (change("pyproject.toml", "", "[tool.pytest.ini_options]\naddopts = '-k x'"), True),
        (change("pyproject.toml", "", "not toml ["), True),
        (change("setup.cfg", "[metadata]\nname = a", "[metadata]\nname = b"), False),
        (change("setup.cfg", "", "[tool:pytest]\naddopts = -k x"), True),
        (change("tests/test_a.py"), True),
        (change("a.py"), False),
    ],
)
def test_configuration_counts_as_a_test_change_only_where_it_is_the_test_runner_s(
    file: FileChange, *, changed: bool
) -> None:
    assert changes_tests(file) is changed


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (change("link", None, "/etc/passwd", new_mode="120000"), "symbolic link"),
        (change("a", old_mode="120000"), "symbolic link"),
        (change("lib", None, None, new_mode="160000"), "submodule"),
        (change("run.sh", None, "x", new_mode="100755"), "mode"),
        (change("run.sh", new_mode="100755"), "mode"),
        (change("a.bin", "x", "\0"), "binary"),
        (change("conftest.py", None), "how tests are run"),
        (change("a/sitecustomize.py", None), "how tests are run"),
        (change("x.pth", None), "how tests are run"),
        (change("json.py", None), "module json"),
        (change("src/unittest/__init__.py", None), "module unittest"),
        (change("_pytest/runner.py", None), "module _pytest"),
        (change("a.py", "import os", "import os, pytest"), "test runner"),
        (change("a.py", "", "def f():\n    from _pytest import runner"), "test runner"),
        (change("a.py", "", "import unittest.case"), "unittest"),
        (change("a.py", "", "import sys\nsys.modules['json']"), "sys.modules"),
        (change("a.py", "", "from sys import modules"), "sys.modules"),
        (change("a.py", "", "import sys\nf = sys._getframe().f_back"), "_getframe"),
        (change("a.py", "", "from inspect import currentframe"), "currentframe"),
        (change("a.py", "", "import sys\ngetattr(sys, '_getframe')"), "_getframe"),
        (change("a.py", "", "try: x()\nexcept E as e: e.__traceback__.tb_frame"), "tb_frame"),
        (change("a.py", "", "import gc"), "gc"),
        (change("a.py", "", "import sys\nsys.meta_path.insert(0, X)"), "meta_path"),
        (change("a.py", "", "import importlib\nimportlib.import_module('_pytest.python')"), "_pytest.python"),
        (change("a.py", "", "import os\nT = 'PYTEST_CURRENT_TEST' in os.environ"), "PYTEST_CURRENT_TEST"),
        (change("a.py", "", "def pytest_pyfunc_call(pyfuncitem): return True"), "hook of pytest"),
        (change("a.py", "", "class A:\n    def __eq__(self, other):\n        return True"), "equal to everything"),
        (change("a.py", "", "class A:\n    __eq__ = lambda self, other: 1"), "equal to everything"),
    ],
)
def test_what_no_patch_may_do_is_refused(file: FileChange, problem: str) -> None:
    with pytest.raises(PatchRefused, match=problem):
        check_patch([file])


@pytest.mark.parametrize(
    "file",
    [
        change("a.py"),
        change("new/json.py", None),
        change("a.py", "x", None),
        change("run.sh", old_mode="100755", new_mode="100755"),
        change("tests/test_new.py", None, "import pytest"),
        change("a.py", "import pytest", "import pytest, os"),
        change("a.py", "", "import sys, inspect\nprint(sys.argv, inspect.signature(f), 'use pytest to test')"),
        change("a.py", "", "class A:\n    def __eq__(self, other):\n        return self.x == other.x"),
        change("a.py", "import gc", "import gc, os"),
        change("deep.py", None, f"x = {'-' * 100_000}1"),
    ],
)
def test_an_ordinary_change_is_taken(file: FileChange) -> None:
    check_patch([file])


@pytest.mark.parametrize("path", ["checks/decimal.py", "checks/deep/random/__init__.py", "app/queue.py"])
def test_a_new_module_beside_tests_may_not_replace_a_standard_one(path: str) -> None:
    tests = frozenset({"checks/test_a.py", "checks/deep/test_b.py", "app/test_c.py"})
    with pytest.raises(PatchRefused, match="would replace the module"):
        check_patch([change(path, None)], tests, tests)


def test_a_new_module_of_a_package_may_be_named_like_a_standard_one() -> None:
    tests = frozenset({"app/test_c.py"})
    check_patch([change("app/queue.py", None)], tests, tests | {"app/__init__.py"})


def test_a_new_file_whose_name_differs_only_by_case_is_refused() -> None:
    with pytest.raises(PatchRefused, match="where case does not count"):
        check_patch([change("Calc.py", None)], files=["calc.py"])


@pytest.mark.parametrize(
    "old", ["import pytest", "from unittest import TestCase", "def pytest_addoption(parser): pass"]
)
def test_code_that_the_tests_are_made_of_is_restored_and_its_change_is_a_test_change(old: str) -> None:
    support = change("support.py", old, "x = 1")
    assert is_restored(support)
    assert changes_tests(support)


def test_an_empty_patch_is_refused() -> None:
    with pytest.raises(PatchRefused, match="change nothing"):
        check_patch([])
