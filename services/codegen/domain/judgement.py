"""When a change may be called verified: the outcomes before it against the outcomes of the independent check."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.codegen.domain.changes import Baseline, Outcome, State, SuiteRun

_NAMED = 3
_PRINTED_CHARACTERS = 300
_WORD = re.compile(r"[\w./-]+")


@dataclass(frozen=True)
class Expectation:
    """What the check must show: each of `tests` passed, each of `files` collected and all its tests passed."""

    wanted: frozenset[str]
    """Tests that failed before and that the change is to make pass."""
    kept: frozenset[str]
    """Tests that passed before and must still pass."""
    files: frozenset[str]
    """Test files that could not be collected before and that the change is to make pass."""
    ignored: frozenset[str] = frozenset()
    """Tests and files that failed before and were not asked about, and flaky tests."""
    tampered: frozenset[str] = frozenset()
    """What the commit's own code replaces in the test runner or changes on disk."""

    @property
    def shows_the_change(self) -> bool:
        return bool(self.wanted or self.files)

    @property
    def tests(self) -> frozenset[str]:
        return self.wanted | self.kept


@dataclass(frozen=True)
class Judgement:
    state: State
    reason: str
    problems: tuple[str, ...] = ()
    """Test ids and files that did not do what was expected of them."""


def expect(baseline: Baseline, instruction: str) -> Expectation:
    """The failing tests that the instruction names, or all of them when it names none."""
    failed, uncollected = baseline.failed, baseline.uncollected
    words = {word.strip("./-") for word in _WORD.findall(instruction.replace("::", " "))}
    named_tests = frozenset(test for test in failed if not words.isdisjoint(_names_inside(test)))
    in_named_files = frozenset(test for test in failed if not words.isdisjoint(_names_of_file(test)))
    named_files = frozenset(path for path in uncollected if not words.isdisjoint(_names_of_file(path)))
    if named_tests:
        failed, uncollected = named_tests, frozenset()
    elif in_named_files or named_files:
        failed, uncollected = in_named_files, named_files
    ignored = (baseline.failed | baseline.uncollected | baseline.flaky) - failed - uncollected
    return Expectation(
        wanted=failed, kept=baseline.passed, files=uncollected, ignored=ignored, tampered=baseline.tampered
    )


def unmet(expectation: Expectation, run: SuiteRun) -> tuple[str, ...]:
    """Everything expected that this run does not show."""
    if run.status != "completed":
        return (f"(the test run {run.status.replace('_', ' ')})",)
    if tampered := sorted(set(run.tampered) - expectation.tampered):
        return (f"(the code under test tampers with {', '.join(tampered[:_NAMED])})",)
    missing = [test for test in sorted(expectation.tests) if run.outcomes.get(test) is not Outcome.PASSED]
    return (*missing, *(path for path in sorted(expectation.files) if not _file_passes(path, run)))


def describe_end(run: SuiteRun) -> str:
    """How a run that did not complete ended, with the last that it printed."""
    return f"the run {run.status.replace('_', ' ')}. {run.output.strip()[-_PRINTED_CHARACTERS:]}".strip()


def describe_cause(problem: str, run: SuiteRun) -> str:
    """The error of a failed test or file in one line, and what to know about it; empty when there is none."""
    text = next((failure.text for failure in run.failures if failure.test_id == problem), "")
    errors = [line.removeprefix("E").strip() for line in text.splitlines() if line.startswith("E ")]
    if not errors:
        return ""
    hint = " Packages that the repository depends on are not installed in the sandbox."
    return f" {errors[-1]}.{hint if 'ModuleNotFoundError' in errors[-1] else ''}"


def forged(expectation: Expectation, control: SuiteRun) -> tuple[str, ...]:
    """What a run in which every test had to fail reports as passed, or does not report."""
    if control.status != "completed":
        return (f"(the control run {control.status.replace('_', ' ')})",)
    known = expectation.tests | {test for test in control.outcomes if test.partition("::")[0] in expectation.files}
    return tuple(test for test in sorted(known) if control.outcomes.get(test) in (None, Outcome.PASSED))


def judge(
    expectation: Expectation,
    restored: SuiteRun,
    control: SuiteRun,
    *,
    complete: SuiteRun | None = None,
    tests_alone: SuiteRun | None = None,
) -> Judgement:
    """`restored` ran the patch with the commit's own tests, `control` did so with every test made to fail at its end.

    `complete` ran the patch with its changed tests, if it has any, and `tests_alone` these tests without its code.
    """
    if not expectation.tests and not expectation.files:
        return Judgement(
            State.UNVERIFIED_NO_TESTS, "The repository has no tests of its own, so nothing could be checked."
        )
    if problems := unmet(expectation, restored):
        return Judgement(State.FAILED, _failure_reason(problems, expectation, complete), problems)
    if problems := forged(expectation, control):
        named = ", ".join(problems[:_NAMED])
        return Judgement(
            State.FAILED, f"The outcome of the tests is not to be believed: {named} cannot fail.", problems
        )
    if complete is not None:
        return _judge_with_test_changes(expectation, complete, tests_alone)
    kept = len(expectation.kept)
    if not expectation.shows_the_change:
        reason = f"No test asked for this change: the {kept} tests that passed before still pass, and none failed."
        return Judgement(State.UNVERIFIED_NO_TESTS, reason)
    wanted = len(expectation.wanted) + len(expectation.files)
    return Judgement(State.VERIFIED, f"{wanted} failing before now pass, and {kept} that passed before still do.")


def _judge_with_test_changes(expectation: Expectation, complete: SuiteRun, tests_alone: SuiteRun | None) -> Judgement:
    if complete.status != "completed":
        reason = "The test run with the changed tests did not complete."
        return Judgement(State.FAILED, reason, unmet(expectation, complete))
    if broken := tuple(sorted((complete.failed | set(complete.uncollected)) - expectation.ignored)):
        return Judgement(State.FAILED, f"{len(broken)} of the changed tests fail.", broken)
    if not expectation.shows_the_change and not _need_the_code(complete, tests_alone):
        reason = "No test asked for this change, and none that it adds or changes fails without it."
        return Judgement(State.UNVERIFIED_NO_TESTS, reason)
    reason = "The commit's own tests pass with the patch, and so do the tests that it adds or changes."
    return Judgement(State.VERIFIED_WITH_TEST_CHANGES, reason)


def _need_the_code(complete: SuiteRun, tests_alone: SuiteRun | None) -> bool:
    """True when a test of the patch passes with its code and not without it."""
    if tests_alone is None or tests_alone.status != "completed":
        return False
    return bool(complete.passed - tests_alone.passed)


def _failure_reason(problems: tuple[str, ...], expectation: Expectation, complete: SuiteRun | None) -> str:
    broken = [test for test in problems if test in expectation.kept]
    named = ", ".join((broken or problems)[:_NAMED])
    if complete is not None and not unmet(expectation, complete):
        return f"Tests pass only because the patch changes them: {named}."
    if broken:
        return f"{len(broken)} tests that passed before do not pass any more: {named}."
    return f"{len(problems)} expected tests do not pass: {named}."


def _file_passes(path: str, run: SuiteRun) -> bool:
    if path in run.uncollected:
        return False
    outcomes = [outcome for test, outcome in run.outcomes.items() if test.partition("::")[0] == path]
    return bool(outcomes) and all(outcome is Outcome.PASSED for outcome in outcomes)


def _names_inside(test: str) -> set[str]:
    """The names of the test's function and classes."""
    return {part.partition("[")[0] for part in test.split("::")[1:]}


def _names_of_file(test: str) -> set[str]:
    path = test.partition("::")[0]
    return {path, path.rpartition("/")[2]}
