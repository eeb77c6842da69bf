from __future__ import annotations

import os

import pytest

from morningai.errors import StepFailure
from services.codegen.domain.changes import Outcome, SuiteRun
from services.codegen.harness.run_tests import make_sender
from services.codegen.sandbox import SandboxedRun
from services.codegen.suite import read_run

KEY = b"k" * 32
TEST = "test_a.py::test_a"
BEGIN: dict[str, object] = {"kind": "begin"}
END: dict[str, object] = {"kind": "end", "exit_code": 0}
PHASES = [{"kind": "phase", "id": TEST, "when": when, "outcome": "passed"} for when in ("setup", "call", "teardown")]


def signed(*records: dict[str, object], key: bytes = KEY) -> bytes:
    reader, writer = os.pipe()
    send = make_sender(writer, key)
    for record in records:
        send(**record)
    os.close(writer)
    with os.fdopen(reader, "rb") as report:
        return report.read()


def read(report: bytes, *, exit_code: int = 0, stopped: str | None = None) -> SuiteRun:
    return read_run(SandboxedRun(exit_code, stopped, b"output", report, 1.0), KEY, command=("pytest",))


def test_a_whole_report_is_a_completed_run() -> None:
    run = read(signed(BEGIN, *PHASES, END))
    assert (run.status, run.outcomes) == ("completed", {TEST: Outcome.PASSED})


def test_a_test_that_lacks_a_phase_has_not_passed() -> None:
    assert read(signed(BEGIN, *PHASES[:2], END)).outcomes == {TEST: Outcome.FAILED}


def test_a_test_that_is_reported_twice_has_not_passed() -> None:
    assert read(signed(BEGIN, *PHASES, *PHASES, END)).outcomes == {TEST: Outcome.FAILED}


def test_a_report_without_its_end_is_a_crash() -> None:
    assert read(signed(BEGIN, *PHASES)).status == "crashed"


def test_an_end_that_is_not_the_last_record_is_a_crash() -> None:
    assert read(signed(BEGIN, END, *PHASES)).status == "crashed"


def test_an_exit_code_that_differs_from_the_reported_one_is_a_crash() -> None:
    assert read(signed(BEGIN, *PHASES, END), exit_code=1).status == "crashed"


def test_what_follows_a_line_that_is_not_signed_is_not_read() -> None:
    forged = signed(BEGIN, *PHASES, END, key=b"x" * 32).splitlines(keepends=True)[1:]
    run = read(signed(BEGIN) + b"".join(forged))
    assert (run.status, run.outcomes) == ("crashed", {})


def test_a_record_that_is_left_out_or_repeated_is_noticed() -> None:
    lines = signed(BEGIN, *PHASES, END).splitlines(keepends=True)
    assert read(b"".join([*lines[:2], *lines[3:]])).status == "crashed"
    assert read(b"".join([*lines[:2], *lines[1:]])).status == "crashed"


@pytest.mark.parametrize("record", [{"kind": 1, "exit_code": "x"}, {"frames": 1}, {"kind": "phase", "frames": [[]]}])
def test_a_signed_record_that_is_none_of_ours_ends_the_report(record: dict[str, object]) -> None:
    assert read(signed(BEGIN, record, END)).status == "crashed"


def test_what_a_row_cannot_hold_is_replaced() -> None:
    failed: dict[str, object] = {"kind": "phase", "id": TEST, "when": "call", "outcome": "failed", "text": "\0\ud800"}
    run = read_run(SandboxedRun(0, None, b"\0", signed(BEGIN, failed, END), 1.0), KEY, command=())

    assert (run.failures[0].text, run.output) == ("\ufffd?", "\ufffd")


@pytest.mark.parametrize(("stopped", "status"), [("time", "timed_out"), ("output", "flooded")])
def test_a_run_that_was_stopped_says_nothing_about_its_tests(stopped: str, status: str) -> None:
    assert read(signed(BEGIN, *PHASES, END), stopped=stopped).status == status


def test_nothing_reported_at_all_means_that_there_was_no_sandbox() -> None:
    with pytest.raises(StepFailure) as failure:
        read(b"")
    assert failure.value.reason == "sandbox_unavailable"
