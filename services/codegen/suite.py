"""Runs a tree's tests in the sandbox and reads the signed report; what is not in the report did not happen."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Required

from pydantic import BeforeValidator, TypeAdapter
from typing_extensions import TypedDict

from morningai.errors import storable
from services.codegen import harness
from services.codegen.domain.changes import Failure, Frame, Outcome, SuiteRun, SuiteStatus
from services.codegen.sandbox import Limits, Sandbox, SandboxedRun, sandbox_unavailable

_HARNESS_FOLDER = Path(harness.__file__).parent
_HARNESS_MOUNT = "/harness"
_KEY_BYTES = 32
# What follows the key on the harness's standard input.
_REAL, _CONTROL = b"R", b"C"
_OUTPUT_CHARACTERS = 4_000
_PROBLEM_CHARACTERS = 300
_OPTIONS = (
    "-q",
    "-p",
    "no:cacheprovider",
    "--continue-on-collection-errors",
    "--maxfail=0",
    "--tb=short",
    "--color=no",
)
# An option of the repository's that needs a plugin which is not here, for example --cov, stops pytest before any test.
_WITHOUT_ADDED_OPTIONS = ("-o", "addopts=")
_USAGE_ERROR, _NO_TESTS = 4, 5
_HONEST_EXIT_CODES = frozenset({0, 1, _NO_TESTS})


_Text = Annotated[str, BeforeValidator(lambda value: storable(str(value)))]


class _Record(TypedDict, total=False):
    number: Required[int]
    kind: Required[_Text]
    id: _Text
    when: _Text
    outcome: _Text
    text: _Text
    frames: list[tuple[_Text, int, _Text]]
    exit_code: int


_RECORD = TypeAdapter(_Record)


@dataclass
class _Tally:
    """Outcomes while a report is read: a test passes only if each of its three phases was reported as passed."""

    phases: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    uncollected: dict[str, None] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    tampered: dict[str, None] = field(default_factory=dict)

    def add(self, record: _Record) -> None:
        test_id, outcome = record.get("id", ""), record.get("outcome", "")
        if record["kind"] == "tampered":
            self.tampered[test_id] = None
        elif record["kind"] == "phase":
            self.phases.setdefault(test_id, []).append((record.get("when", ""), outcome))
        elif record["kind"] == "uncollected" and outcome == "failed":
            self.uncollected[test_id.partition("::")[0]] = None
        if outcome == "failed":
            frames = tuple(Frame(*frame) for frame in record.get("frames", []))
            self.failures.append(Failure(test_id, record.get("text", ""), frames))

    def outcomes(self) -> dict[str, Outcome]:
        return {test_id: _outcome(phases) for test_id, phases in self.phases.items()}


@dataclass(frozen=True)
class Suite:
    sandbox: Sandbox
    limits: Limits

    def describe(self) -> str:
        """What the sandbox held, in words for the evidence."""
        return f"{self.sandbox.describe()}; {self.limits}"

    async def run(self, tree: Path) -> SuiteRun:
        """Runs all tests of the tree; raises StepFailure("sandbox_unavailable") when the sandbox does not start."""
        return await self._run(tree, _REAL)

    async def run_control(self, tree: Path) -> SuiteRun:
        """Runs all tests and makes each of them fail at its end."""
        return await self._run(tree, _CONTROL)

    async def _run(self, tree: Path, mode: bytes) -> SuiteRun:
        run = await self._run_with(tree, mode, ())
        return await self._run_with(tree, mode, _WITHOUT_ADDED_OPTIONS) if run.status == "misconfigured" else run

    async def _run_with(self, tree: Path, mode: bytes, options: tuple[str, ...]) -> SuiteRun:
        key = secrets.token_bytes(_KEY_BYTES)
        command = (str(self.sandbox.host.python), f"{_HARNESS_MOUNT}/run_tests.py", "{report}", *_OPTIONS, *options)
        finished = await self.sandbox.run(
            command, tree=tree, limits=self.limits, mounts={_HARNESS_MOUNT: _HARNESS_FOLDER}, secret=key + mode
        )
        return read_run(finished, key, command=command)


def read_run(finished: SandboxedRun, key: bytes, *, command: tuple[str, ...]) -> SuiteRun:
    """Raises StepFailure("sandbox_unavailable") when not even the harness came to run."""
    records = list(_records(finished.report, key))
    if not records and finished.stopped is None:
        problem = finished.output.decode(errors="replace").strip()[-_PROBLEM_CHARACTERS:]
        raise sandbox_unavailable(problem or f"it ended with {finished.exit_code}")
    tally = _Tally()
    for record in records:
        tally.add(record)
    exit_code = records[-1].get("exit_code") if records and records[-1]["kind"] == "end" else None
    return SuiteRun(
        status=_status(finished, exit_code),
        outcomes=tally.outcomes(),
        uncollected=tuple(tally.uncollected),
        failures=tuple(tally.failures),
        tampered=tuple(tally.tampered),
        command=command,
        output=storable(finished.output.decode(errors="replace")[-_OUTPUT_CHARACTERS:]),
        seconds=round(finished.seconds, 2),
    )


def _records(report: bytes, key: bytes) -> Iterator[_Record]:
    """Stops at the first line that is not signed or not the next: nothing after it can be trusted."""
    for number, line in enumerate(report.splitlines()):
        signature, _, body = line.partition(b" ")
        expected = hmac.new(key, body, hashlib.sha256).hexdigest().encode()
        if not hmac.compare_digest(signature, expected):
            return
        try:
            record = _RECORD.validate_python(json.loads(body))
        except (ValueError, RecursionError):
            return
        if record["number"] != number:
            return
        yield record


def _status(finished: SandboxedRun, reported_exit_code: int | None) -> SuiteStatus:
    if finished.stopped == "time":
        return "timed_out"
    if finished.stopped == "output":
        return "flooded"
    if reported_exit_code == _USAGE_ERROR == finished.exit_code:
        return "misconfigured"
    honest = reported_exit_code == finished.exit_code and finished.exit_code in _HONEST_EXIT_CODES
    return "completed" if honest else "crashed"


def _outcome(phases: list[tuple[str, str]]) -> Outcome:
    outcomes = [outcome for _, outcome in phases]
    if "failed" in outcomes:
        return Outcome.FAILED
    if "skipped" in outcomes:
        return Outcome.SKIPPED
    return (
        Outcome.PASSED
        if [when for when, _ in phases if when != "subtest"] == ["setup", "call", "teardown"]
        else Outcome.FAILED
    )
