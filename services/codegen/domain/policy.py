"""Which paths an edit may touch, what a patch may never do, and which files decide what the tests say."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.codegen.domain.python import parse
from services.codegen.errors import EditRefused, PatchRefused

REGULAR_FILE, EXECUTABLE_FILE, SYMBOLIC_LINK, SUBMODULE = "100644", "100755", "120000", "160000"
_MOST_PATH_CHARACTERS = 255

_TEST_FOLDER = re.compile(
    r"_*tests?([-_].+|ing|data|utils|cases|suite)?|.+[-_]tests?|_*(fixtures|snapshots|goldens?|cassettes)_*",
    re.IGNORECASE,
)
_TEST_FILES = ("test_*.py", "*_test.py", "tests.py", "test.py")
_RUNNER_FILES = frozenset(
    {"conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg"}
)
_START_UP_FILES = frozenset({"sitecustomize.py", "usercustomize.py"})
_RUNNER_MODULES = frozenset({"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py"})
_TEST_MODULES = frozenset({"pytest", "_pytest", "pluggy", "unittest"})
# What reaches from code under test to the runner that calls it, or replaces the tests while they are imported.
_REACHING_MODULES = _TEST_MODULES | {"ctypes", "gc"}
_REACHING_NAMES = frozenset(
    {
        *("_getframe", "_current_frames", "currentframe", "f_back", "f_locals", "f_globals", "tb_frame", "gi_frame"),
        *("cr_frame", "ag_frame", "settrace", "setprofile", "meta_path", "path_hooks", "__subclasses__"),
    }
)
_REACHING_TEXT = re.compile(r"_?pytest(\.[\w.]+)?|PYTEST_\w*|unittest(\.[\w.]+)?|/source(/.*)?|/harness(/.*)?")


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
        or any(_TEST_FOLDER.fullmatch(part) for part in PurePosixPath(path).parts[:-1])
        or any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in _TEST_FILES)
    )


def is_restored(change: FileChange, test_files: frozenset[str] = frozenset()) -> bool:
    """True when the check takes the file from the commit: it is protected, or it is a part of the tests by content."""
    return is_protected(change.path, test_files) or _serves_tests(change)


def changes_tests(change: FileChange, test_files: frozenset[str] = frozenset()) -> bool:
    """True when a protected file is changed in a way that could change what the tests say."""
    if not is_restored(change, test_files):
        return False
    name = PurePosixPath(change.path).name
    if name == "pyproject.toml":
        return _pytest_table(change.old) != _pytest_table(change.new)
    if name in ("setup.cfg", "tox.ini"):
        return _pytest_sections(change.old) != _pytest_sections(change.new)
    return True


def check_patch(
    changes: list[FileChange], test_files: frozenset[str] = frozenset(), files: Collection[str] = frozenset()
) -> None:
    """Raises PatchRefused for what no patch may do, whoever asks for it; `files` are all those of the commit."""
    if not changes:
        raise PatchRefused("The edits change nothing.")
    roots = import_roots(test_files, files)
    for change in changes:
        check_path(change.path)
        _check_modes(change)
        _check_text(change)
        _check_new(change, roots)
        if change.path.endswith(".py") and not is_restored(change, test_files):
            _check_code(change)
    _check_case([change.path for change in changes if change.old is None], files)


def import_roots(test_files: Collection[str], files: Collection[str]) -> frozenset[str]:
    """Folders that modules are imported from while the tests run: the root, src, and those pytest adds for tests."""
    return frozenset({"", "src", "lib", *(_first_folder_that_is_no_package(path, files) for path in test_files)})


def _first_folder_that_is_no_package(path: str, files: Collection[str]) -> str:
    folder = path.rpartition("/")[0]
    while folder and f"{folder}/__init__.py" in files:
        folder = folder.rpartition("/")[0]
    return folder


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


def _check_new(change: FileChange, roots: Collection[str]) -> None:
    if change.old is not None:
        return
    path = PurePosixPath(change.path)
    if path.name in _RUNNER_FILES | _START_UP_FILES or path.suffix == ".pth":
        raise PatchRefused(f"{change.path} would change how tests are run; a patch may not add such a file.")
    if module := shadowed_module(change.path, roots):
        raise PatchRefused(f"{change.path} would replace the module {module} while tests run; give it another name.")


def _check_case(added: list[str], files: Collection[str]) -> None:
    known = {path.casefold(): path for path in files}
    for path in added:
        other = known.setdefault(path.casefold(), path)
        if other != path:
            raise PatchRefused(f"{path} and {other} are one file where case does not count; give it another name.")


def _check_code(change: FileChange) -> None:
    for reached in sorted(_reaches(change.new) - _reaches(change.old)):
        raise PatchRefused(
            f"{change.path} would use {reached}: code under test may not reach for the test runner or the interpreter."
        )
    if _names_of_hooks(change.new) - _names_of_hooks(change.old):
        raise PatchRefused(
            f"{change.path} would define a hook of pytest: code under test may not change how tests run."
        )
    if _equal_to_all(change.new) - _equal_to_all(change.old):
        raise PatchRefused(f"{change.path} would define objects that are equal to everything, so no test could fail.")


def shadowed_module(path: str, roots: Collection[str] = ("", "src", "lib")) -> str | None:
    """The standard or test-runner module that a new file at this path would be imported instead of."""
    if not path.endswith((".py", ".so")):
        return None
    for root in roots:
        inside = path if not root else path.removeprefix(f"{root}/") if path.startswith(f"{root}/") else ""
        module = inside.partition("/")[0].partition(".")[0]
        if module in sys.stdlib_module_names | _RUNNER_MODULES:
            return module
    return None


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _serves_tests(change: FileChange) -> bool:
    """True for code that the commit's tests are made of: a plugin, a fixture or a base class."""
    if not change.path.endswith(".py"):
        return False
    return not _TEST_MODULES.isdisjoint(_imported_roots(change.old)) or bool(_names_of_hooks(change.old))


def _nodes(source: bytes | None) -> Iterator[ast.AST]:
    return ast.walk(parse((source or b"").decode(errors="replace")) or ast.Module([], []))


def _imported_roots(source: bytes | None) -> frozenset[str]:
    roots: set[str] = set()
    for node in _nodes(source):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return frozenset(roots)


def _reaches(source: bytes | None) -> frozenset[str]:
    reached = set(_imported_roots(source) & _REACHING_MODULES)
    for node in _nodes(source):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name) if name in _REACHING_NAMES:
                reached.add(name)
            case ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
                reached.add("sys.modules")
            case ast.ImportFrom(module="sys", names=names) if any(alias.name == "modules" for alias in names):
                reached.add("sys.modules")
            case ast.Constant(value=str(text)) if text in _REACHING_NAMES or _REACHING_TEXT.fullmatch(text):
                reached.add(text)
    return frozenset(reached)


def _names_of_hooks(source: bytes | None) -> frozenset[str]:
    return frozenset(
        node.name
        for node in _nodes(source)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("pytest_")
    )


def _equal_to_all(source: bytes | None) -> frozenset[str]:
    """Classes whose __eq__ gives a constant that is true, whatever it is compared with."""
    classes = [node for node in _nodes(source) if isinstance(node, ast.ClassDef)]
    return frozenset(node.name for node in classes if any(_is_always_equal(part) for part in node.body))


def _is_always_equal(node: ast.stmt) -> bool:
    match node:
        case ast.FunctionDef(name="__eq__"):
            returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
        case ast.Assign(targets=[ast.Name(id="__eq__")], value=ast.Lambda(body=body)):
            returned = [body]
        case _:
            return False
    return bool(returned) and all(isinstance(value, ast.Constant) and value.value for value in returned)


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
