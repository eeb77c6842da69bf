"""Runs pytest in the sandbox and reports each outcome as a signed line, so that a lost or forged report shows.

The key is read from standard input and held in a closure, records are numbered, and the last one is written only when
pytest has returned. An outcome is taken from what the test raised, not from the report that a plugin could rewrite.
Reported too is every part of the runner, and every source file, that is not what it was when the run began.

In a control run each test that comes to its end is made to fail: a test that is reported as passed then was not run.
What remains: code under test runs in this process, and one that searches it for the key and the mode can lie.
"""

from __future__ import annotations

import builtins
import contextlib
import doctest
import filecmp
import functools
import hashlib
import hmac
import importlib
import inspect
import json
import os
import sys
import unittest.mock
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import _pytest.legacypath
import pytest
from _pytest.config import default_plugins

Send = Callable[..., None]

_KEY_BYTES = 32
_CONTROL = b"C"
_SOURCE = Path("/source")
_GUARDED = frozenset({"pytest", "_pytest", "pluggy", "unittest", builtins.__name__})
_TEXT_CHARACTERS = 4_000
_MOST_FRAMES = 30


def make_sender(descriptor: int, key: bytes) -> Send:
    number = 0

    def send(**record: object) -> None:
        nonlocal number
        line = json.dumps({"number": number, **record})
        signature = hmac.new(key, line.encode(), hashlib.sha256).hexdigest()
        data = f"{signature} {line}\n".encode()
        while data:
            data = data[os.write(descriptor, data) :]
        number += 1

    return send


class Reporter:
    def __init__(self, send: Send, root: Path) -> None:
        self.pytest_collectreport = _collect_hook(send)
        self.pytest_runtest_call, self.pytest_runtest_makereport = _phase_hooks(send, root)


class Control:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        make_fail(item)


class Guard:
    """Tells what was replaced in the runner, and which sources were changed, added or removed on disk."""

    def __init__(self, send: Send, root: Path) -> None:
        self.pytest_pycollect_makemodule = _module_hook(send, root)
        self.pytest_collection_finish, self.pytest_runtest_logstart, self.pytest_sessionfinish = _guard_hooks(
            send, root
        )


def make_fail(item: pytest.Item) -> None:
    """Raises at the end of the test itself, where only one who calls the test can come to."""
    if isinstance(item, pytest.DoctestItem):
        item.dtest.examples.append(doctest.Example("1", "0\n"))
    elif isinstance(item, pytest.Function):
        item.obj = _failing(item.obj)
        if isinstance(item.instance, unittest.TestCase):
            setattr(item.instance, item.name, item.obj)
    else:
        # An item of the repository's own kind.
        setattr(item, "runtest", _failing(item.runtest))  # noqa: B010  mypy takes methods for fixed


def _failing(function: Callable[..., object]) -> Callable[..., object]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def fail_later(*arguments: object, **named: object) -> None:
            await function(*arguments, **named)
            raise AssertionError("control")

        return fail_later

    @functools.wraps(function)
    def fail(*arguments: object, **named: object) -> None:
        function(*arguments, **named)
        raise AssertionError("control")

    return fail


def _guard_hooks(send: Send, root: Path) -> tuple[Callable[[], None], Callable[[str], None], Callable[[], None]]:
    """After the collection, before the tests of each file (a look takes milliseconds), and at the end."""
    parts = list(_parts_of_the_runner())
    own = frozenset(map(id, vars(_pytest.legacypath).values()))
    told: set[str] = set()
    file = ""

    def tell(names: Iterator[str]) -> None:
        for name in names:
            if name not in told:
                told.add(name)
                send(kind="tampered", id=name)

    def after_collection() -> None:
        tell(_replaced(parts, own))
        tell(_changed_sources(root))
        tell(_added_sources(root))

    def before_test(nodeid: str) -> None:
        nonlocal file
        if file != (file := nodeid.partition("::")[0]):
            tell(_replaced(parts, own))

    def at_end() -> None:
        tell(_replaced(parts, own))
        tell(_changed_sources(root))

    return after_collection, before_test, at_end


def _module_hook(send: Send, root: Path) -> Callable[[Path], None]:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path: Path) -> None:
        original = _SOURCE / module_path.relative_to(root)
        if not _same(original, module_path):
            send(kind="tampered", id=str(module_path.relative_to(root)))

    return pytest_pycollect_makemodule


Part = tuple[str, Mapping[str, object], str, object, object]


def _parts_of_the_runner() -> Iterator[Part]:
    """Each function and class: its name, where it is kept, and what it is now."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] in _GUARDED:
            for name, value in list(vars(module).items()):
                if inspect.isclass(value) and value.__module__ == module_name:
                    for attribute, part in list(vars(value).items()):
                        if callable(part) or isinstance(part, classmethod | staticmethod | property):
                            full_name = f"{module_name}.{name}.{attribute}"
                            yield full_name, vars(value), attribute, part, _code(part)
                if callable(value):
                    yield f"{module_name}.{name}", vars(module), name, value, _code(value)


def _replaced(parts: list[Part], own: frozenset[int]) -> Iterator[str]:
    """`own` are those replacements that pytest itself puts in at its start."""
    for full_name, place, name, part, code in parts:
        now = place.get(name)
        if (now is not part and id(now) not in own) or _code(part) is not code:
            yield full_name


def _code(part: object) -> object:
    return part.__code__ if inspect.isfunction(part) else None


def _changed_sources(root: Path) -> Iterator[str]:
    for original in _SOURCE.rglob("*.py"):
        path = original.relative_to(_SOURCE)
        if not _same(original, root / path):
            yield str(path)


def _added_sources(root: Path) -> Iterator[str]:
    for file in root.rglob("*.py"):
        if not (_SOURCE / file.relative_to(root)).exists():
            yield str(file.relative_to(root))


def _same(original: Path, file: Path) -> bool:
    with contextlib.suppress(OSError):
        return filecmp.cmp(original, file, shallow=False)
    return False


def _collect_hook(send: Send) -> Callable[[pytest.CollectReport], None]:
    def pytest_collectreport(report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            send(kind="uncollected", id=report.nodeid, outcome=report.outcome, text=_shorten(str(report.longrepr)))

    return pytest_collectreport


CallHook = Callable[[], Generator[None]]
PhaseHook = Callable[[pytest.Item, pytest.CallInfo[None]], Generator[None, pytest.TestReport, pytest.TestReport]]


def _phase_hooks(send: Send, root: Path) -> tuple[CallHook, PhaseHook]:
    is_running = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call() -> Generator[None]:
        nonlocal is_running
        is_running = True
        try:
            yield
        finally:
            is_running = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        raised = call.excinfo
        report = yield
        # What a unittest test raised is put there only now.
        raised = raised or call.excinfo
        outcome = _outcome(raised, report)
        text, frames = "", []
        if outcome == "failed":
            text = _shorten(report.longreprtext)
            frames = [] if raised is None else _frames(raised, root)
        when = "subtest" if is_running else call.when
        send(kind="phase", id=item.nodeid, when=when, outcome=outcome, text=text, frames=frames)
        return report

    return pytest_runtest_call, pytest_runtest_makereport


def _outcome(raised: pytest.ExceptionInfo[BaseException] | None, report: pytest.TestReport) -> str:
    if raised is None:
        return report.outcome
    expected = hasattr(report, "wasxfail")
    return "skipped" if expected or raised.errisinstance(pytest.skip.Exception) else "failed"


def _frames(raised: pytest.ExceptionInfo[BaseException], root: Path) -> list[tuple[str, int, str]]:
    frames = []
    for entry in raised.traceback:
        path = Path(str(entry.path))
        if path.is_relative_to(root):
            frames.append((str(path.relative_to(root)), entry.lineno + 1, entry.name))
    return frames[-_MOST_FRAMES:]


def _shorten(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS else f"…{text[-_TEXT_CHARACTERS:]}"


def main(descriptor: int, options: list[str]) -> int:
    os.set_inheritable(descriptor, False)
    secret = sys.stdin.buffer.read()
    send = make_sender(descriptor, secret[:_KEY_BYTES])
    is_control = secret[_KEY_BYTES:] == _CONTROL
    root = Path.cwd()
    for name in default_plugins:
        importlib.import_module(f"_pytest.{name}")
    sys.path[0:1] = [str(root), str(root / "src")]
    os.environ["PYTHONPATH"] = os.pathsep.join((str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")))
    send(kind="begin")
    plugins: list[object] = [Guard(send, root), Reporter(send, root)]
    if is_control:
        plugins.append(Control())
        options = [*options, "--tb=no", "-rN"]
    exit_code = int(pytest.main([f"--rootdir={root}", *options], plugins=plugins))
    send(kind="end", exit_code=exit_code)
    return exit_code


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    # Threads and exit handlers that the tests left behind have no say any more.
    os._exit(code)
