from __future__ import annotations

from dataclasses import replace

import pytest

from services.codegen.domain.changes import Baseline, Outcome, State, SuiteRun, SuiteStatus
from services.codegen.domain.judgement import expect, judge, unmet

P, F, S = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
ADD, SUB = "test_a.py::test_add", "test_a.py::test_sub"


def run(*, status: SuiteStatus = "completed", uncollected: tuple[str, ...] = (), **outcomes: Outcome) -> SuiteRun:
    return SuiteRun(status, {f"test_a.py::test_{name}": outcome for name, outcome in outcomes.items()}, uncollected)


def all_failed(real: SuiteRun) -> SuiteRun:
    return SuiteRun("completed", dict.fromkeys(real.outcomes, F))


def state_of(before: SuiteRun, restored: SuiteRun, complete: SuiteRun | None = None, instruction: str = "") -> State:
    return judge(expect(Baseline(before, before), instruction), restored, all_failed(restored), complete=complete).state


@pytest.mark.parametrize(
    ("before", "restored", "state"),
    [
        (run(add=F, sub=P), run(add=P, sub=P), State.VERIFIED),
        (run(add=F, sub=P), run(add=F, sub=P), State.FAILED),
        (run(add=F, sub=P), run(add=P, sub=F), State.FAILED),
        (run(add=F, sub=P), run(add=P, sub=S), State.FAILED),
        (run(add=F, sub=P), run(add=S, sub=P), State.FAILED),
        (run(add=F, sub=P), run(add=P), State.FAILED),
        (run(add=F, sub=P), run(sub=P), State.FAILED),
        (run(add=F, sub=P), run(), State.FAILED),
        (run(add=F, sub=P), run(add=P, sub=P, status="crashed"), State.FAILED),
        (run(add=F, sub=P), run(add=P, sub=P, status="timed_out"), State.FAILED),
        (run(add=F, sub=F), run(add=P, sub=F), State.FAILED),
        (run(sub=P), run(sub=P), State.UNVERIFIED_NO_TESTS),
        (run(sub=S), run(sub=S), State.UNVERIFIED_NO_TESTS),
        (run(), run(), State.UNVERIFIED_NO_TESTS),
        (run(uncollected=("test_b.py",)), run(uncollected=("test_b.py",)), State.FAILED),
        (run(uncollected=("test_a.py",)), run(add=P), State.VERIFIED),
        (run(uncollected=("test_a.py",)), run(add=S), State.FAILED),
        (run(uncollected=("test_a.py",)), run(), State.FAILED),
    ],
)
def test_the_state_follows_from_the_outcomes_before_and_after(
    before: SuiteRun, restored: SuiteRun, state: State
) -> None:
    assert state_of(before, restored) is state


@pytest.mark.parametrize(
    ("restored", "complete", "state"),
    [
        (run(add=P), run(add=P, new=P), State.VERIFIED_WITH_TEST_CHANGES),
        (run(add=F), run(add=P, new=P), State.FAILED),
        (run(add=P), run(add=P, new=F), State.FAILED),
        (run(add=P), run(add=P, uncollected=("test_b.py",)), State.FAILED),
        (run(add=P), run(add=P, status="crashed"), State.FAILED),
    ],
)
def test_a_patch_with_test_changes_is_verified_by_both_runs_and_never_more(
    restored: SuiteRun, complete: SuiteRun, state: State
) -> None:
    assert state_of(run(add=F), restored, complete) is state


@pytest.mark.parametrize(
    ("tests_alone", "state"),
    [
        (run(add=P, new=F), State.VERIFIED_WITH_TEST_CHANGES),
        (run(add=P, uncollected=("test_b.py",)), State.VERIFIED_WITH_TEST_CHANGES),
        (run(add=P, new=P), State.UNVERIFIED_NO_TESTS),
        (run(status="crashed"), State.UNVERIFIED_NO_TESTS),
        (None, State.UNVERIFIED_NO_TESTS),
    ],
)
def test_where_no_test_asked_for_the_change_its_own_tests_must_need_its_code(
    tests_alone: SuiteRun | None, state: State
) -> None:
    before, complete = run(add=P), run(add=P, new=P)
    expectation = expect(Baseline(before, before), "")
    judgement = judge(expectation, before, all_failed(before), complete=complete, tests_alone=tests_alone)

    assert judgement.state is state


def test_passing_by_changed_tests_alone_is_said_so() -> None:
    judgement = judge(expect(Baseline(run(add=F), run(add=F)), ""), run(add=F), run(add=F), complete=run(add=P))
    assert judgement.reason == f"Tests pass only because the patch changes them: {ADD}."


@pytest.mark.parametrize(
    "control",
    [run(add=P, sub=F), run(add=F, sub=P), run(add=F), run(), run(add=F, sub=F, status="crashed")],
    ids=["wanted passes", "kept passes", "one is missing", "all are missing", "crashed"],
)
def test_a_patch_whose_tests_cannot_be_made_to_fail_is_not_verified(control: SuiteRun) -> None:
    before = run(add=F, sub=P)
    judgement = judge(expect(Baseline(before, before), ""), run(add=P, sub=P), control)

    assert judgement.state is State.FAILED
    assert "not to be believed" in judgement.reason


def test_tests_of_a_file_that_could_not_be_collected_must_be_able_to_fail_too() -> None:
    before = run(uncollected=("test_a.py",))
    assert judge(expect(Baseline(before, before), ""), run(add=P), run(add=P)).state is State.FAILED


@pytest.mark.parametrize(("before", "state"), [((), State.FAILED), (("unittest.TestCase.run",), State.VERIFIED)])
def test_a_patch_may_not_tamper_with_more_than_the_commit_does(before: tuple[str, ...], state: State) -> None:
    first = replace(run(add=F), tampered=before)
    after = replace(run(add=P), tampered=("unittest.TestCase.run",))

    assert state_of(first, after) is state


@pytest.mark.parametrize("instruction", ["Fix test_add.", "make test_a.py::test_add pass", "Fix `test_add`, please"])
def test_only_the_failing_tests_that_are_named_must_pass(instruction: str) -> None:
    assert state_of(run(add=F, sub=F), run(add=P, sub=F), instruction=instruction) is State.VERIFIED


def test_a_file_names_all_its_tests() -> None:
    assert expect(Baseline(run(add=F, sub=F), run(add=F, sub=F)), "Fix test_a.py").wanted == {ADD, SUB}


def test_tests_that_failed_before_and_were_not_named_are_ignored_in_changed_tests_too() -> None:
    assert (
        state_of(run(add=F, sub=F), run(add=P, sub=F), run(add=P, sub=F, new=P), instruction="Fix test_add")
        is State.VERIFIED_WITH_TEST_CHANGES
    )


def test_a_flaky_test_is_neither_wanted_nor_kept() -> None:
    baseline = Baseline(run(add=F, sub=P), run(add=F, sub=F))
    expectation = expect(baseline, "")
    assert baseline.flaky == {SUB}
    assert expectation.tests == {ADD}
    assert unmet(expectation, run(add=P, sub=F)) == ()


def test_a_repository_without_tests_stays_unverified_whatever_tests_the_patch_brings() -> None:
    assert state_of(run(), run(), run(new=P)) is State.UNVERIFIED_NO_TESTS
