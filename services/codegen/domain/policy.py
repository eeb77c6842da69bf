"""Which paths an edit may touch, what a patch may never do, and which files decide what the tests say."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.codegen.errors import EditRefused, PatchRefused

REGULAR_FILE, EXECUTABLE_FILE, SYMBOLIC_LINK, SUBMODULE = "100644", "100755", "120000", "160000"
_MOST_PATH_CHARACTERS = 255

_TEST_FOLDERS = frozenset({"test", "tests", "testing"})
_TEST_FILES = ("test_*.py", "*_test.py", "tests.py", "test.py")
_RUNNER_FILES = frozenset(
    {"conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg"}
)
_START_UP_FILES = frozenset({"sitecustomize.py", "usercustomize.py"})
_RUNNER_MODULES = frozenset({"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py"})


@dataclass(frozen=True)
class FileChange:
    """One file of a patch, as git sees it between two trees; None where there is no file."""

    path: str
    old_mode: str | None
    new_mode: str | None
    old: bytes | None
    new: bytes | None


def check_path(path: str) -> str:
    """Returns the path as git names it; raises EditRefused for one that could leave the workspace."""
    parts = PurePosixPath(path).parts
    problem = ""
    if not path.strip() or not parts or len(path) > _MOST_PATH_CHARACTERS:
        problem = "is not a file name"
    elif path.startswith(("/", "~")) or "\\" in path or ":" in parts[0]:
        problem = "must be relative to the repository"
    elif ".." in parts:
        problem = "must not contain .."
    elif any(part.lower().rstrip(". ") == ".git" or part.lower().startswith("git~") for part in parts):
        problem = "must not be inside .git"
    elif not path.isprintable():
        problem = "contains control characters"
    if problem:
        raise EditRefused(f"The path {path!r} {problem}.")
    return str(PurePosixPath(path))


def is_protected(path: str, test_files: frozenset[str] = frozenset()) -> bool:
    """True for tests and what configures them; `test_files` are those that the baseline reported."""
    name = PurePosixPath(path).name
    return (
        path in test_files
        or name in _RUNNER_FILES | _START_UP_FILES
        or name == "pyproject.toml"
        or not _TEST_FOLDERS.isdisjoint(PurePosixPath(path).parts[:-1])
        or any(fnmatch.fnmatchcase(name, pattern) for pattern in _TEST_FILES)
    )


def changes_tests(change: FileChange, test_files: frozenset[str] = frozenset()) -> bool:
    """True when a protected file is changed in a way that could change what the tests say."""
    if not is_protected(change.path, test_files):
        return False
    name = PurePosixPath(change.path).name
    if name == "pyproject.toml":
        return _pytest_table(change.old) != _pytest_table(change.new)
    if name in ("setup.cfg", "tox.ini"):
        return _pytest_sections(change.old) != _pytest_sections(change.new)
    return True


def check_patch(changes: list[FileChange], test_files: frozenset[str] = frozenset()) -> None:
    """Raises PatchRefused for what no patch may do, whoever asks for it."""
    if not changes:
        raise PatchRefused("The edits change nothing.")
    for change in changes:
        check_path(change.path)
        _check_modes(change)
        _check_text(change)
        _check_runner(change, test_files)


def _check_modes(change: FileChange) -> None:
    for mode in (change.old_mode, change.new_mode):
        if mode == SYMBOLIC_LINK:
            raise PatchRefused(f"{change.path} is a symbolic link; a patch may not add, change or remove one.")
        if mode == SUBMODULE:
            raise PatchRefused(f"{change.path} is a submodule; a patch may not add, change or remove one.")
    if change.old_mode is None and change.new_mode != REGULAR_FILE:
        raise PatchRefused(f"{change.path} is added with the mode {change.new_mode}; only plain files may be added.")
    if change.old_mode and change.new_mode and change.old_mode != change.new_mode:
        raise PatchRefused(f"{change.path} changes its mode from {change.old_mode} to {change.new_mode}.")


def _check_text(change: FileChange) -> None:
    for content in (change.old, change.new):
        if content is not None and not _is_text(content):
            raise PatchRefused(f"{change.path} is a binary file; a patch may not add, change or remove one.")


def _check_runner(change: FileChange, test_files: frozenset[str]) -> None:
    path = PurePosixPath(change.path)
    if change.old is None and (path.name in _RUNNER_FILES | _START_UP_FILES or path.suffix == ".pth"):
        raise PatchRefused(f"{change.path} would change how tests are run; a patch may not add such a file.")
    if change.old is None and (module := shadowed_module(change.path)):
        raise PatchRefused(f"{change.path} would replace the module {module} while tests run; give it another name.")
    if path.suffix == ".py" and not is_protected(change.path, test_files):
        gained = _imported_roots(change.new) - _imported_roots(change.old)
        if reached := sorted(gained & {"pytest", "_pytest", "pluggy"}):
            raise PatchRefused(
                f"{change.path} imports {reached[0]}: code under test may not reach for the test runner."
            )


def shadowed_module(path: str) -> str | None:
    """The standard or test-runner module that a new file at this path would be imported instead of."""
    parts = PurePosixPath(path).parts
    inside = parts[1:] if parts[0] in ("src", "lib") and len(parts) > 1 else parts
    module = inside[0].removesuffix(".py").partition(".")[0]
    importable = inside[-1].endswith((".py", ".so"))
    return module if importable and module in sys.stdlib_module_names | _RUNNER_MODULES else None


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _imported_roots(source: bytes | None) -> frozenset[str]:
    try:
        tree = ast.parse(source or b"")
    except (SyntaxError, ValueError):
        return frozenset()
    roots: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return frozenset(roots)


def _pytest_table(source: bytes | None) -> object:
    try:
        tools = tomllib.loads((source or b"").decode()).get("tool", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return source
    return tools.get("pytest") if isinstance(tools, Mapping) else None


def _pytest_sections(source: bytes | None) -> object:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string((source or b"").decode())
    except (UnicodeDecodeError, configparser.Error):
        return source
    return {name: sorted(parser.items(name)) for name in ("pytest", "tool:pytest") if parser.has_section(name)}
