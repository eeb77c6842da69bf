"""Runs pytest in the sandbox and reports each outcome as a signed line, so that a lost or forged report shows.

The key is read from standard input and held in a closure, records are numbered, and the last one is written only when
pytest has returned. An outcome is taken from what the test raised, not from the report that a plugin could rewrite.
What remains: code under test runs in this process, and one that searches the interpreter's memory for the key can lie.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

Send = Callable[..., None]

_KEY_BYTES = 32
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
        self.pytest_runtest_makereport = _phase_hook(send, root)


def _collect_hook(send: Send) -> Callable[[pytest.CollectReport], None]:
    def pytest_collectreport(report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            send(kind="uncollected", id=report.nodeid, outcome=report.outcome, text=_shorten(str(report.longrepr)))

    return pytest_collectreport


PhaseHook = Callable[[pytest.Item, pytest.CallInfo[None]], Generator[None, pytest.TestReport, pytest.TestReport]]


def _phase_hook(send: Send, root: Path) -> PhaseHook:
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        raised = call.excinfo
        report = yield
        expected = hasattr(report, "wasxfail")
        outcome = "passed"
        if raised is not None:
            outcome = "skipped" if expected or raised.errisinstance(pytest.skip.Exception) else "failed"
        elif report.outcome == "failed":
            outcome = "failed"
        text, frames = "", []
        if outcome == "failed":
            text = _shorten(report.longreprtext)
            frames = [] if raised is None else _frames(raised, root)
        send(kind="phase", id=item.nodeid, when=call.when, outcome=outcome, text=text, frames=frames)
        return report

    return pytest_runtest_makereport


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
    send = make_sender(descriptor, sys.stdin.buffer.read(_KEY_BYTES))
    root = Path.cwd()
    sys.path[0:1] = [str(root), str(root / "src")]
    os.environ["PYTHONPATH"] = os.pathsep.join((str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")))
    send(kind="begin")
    reporter = Reporter(send, root)
    exit_code = int(pytest.main([f"--rootdir={root}", *options], plugins=[reporter]))
    send(kind="end", exit_code=exit_code)
    return exit_code


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    # Threads and exit handlers that the tests left behind have no say any more.
    os._exit(code)
