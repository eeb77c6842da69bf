"""The nouns of a change: what was asked, what the tests said, and the result with the evidence for its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID


class State(StrEnum):
    VERIFIED = "verified"
    VERIFIED_WITH_TEST_CHANGES = "verified_with_test_changes"
    UNVERIFIED_NO_TESTS = "unverified_no_tests"
    FAILED = "failed"
    BUDGET_EXHAUSTED = "budget_exhausted"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    MODEL_UNAVAILABLE = "model_unavailable"


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


SuiteStatus = Literal["completed", "crashed", "timed_out", "flooded", "misconfigured"]


@dataclass(frozen=True)
class Frame:
    path: str
    line: int
    function: str


@dataclass(frozen=True)
class Failure:
    """A failed test, or a file whose tests could not be collected."""

    test_id: str
    text: str
    frames: tuple[Frame, ...] = ()

    @property
    def path(self) -> str:
        return self.test_id.partition("::")[0]


@dataclass(frozen=True)
class SuiteRun:
    """One run of a repository's tests. Only a `completed` run says anything about a test."""

    status: SuiteStatus
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    uncollected: tuple[str, ...] = ()
    """Files that could not be imported, or whose tests could not be found."""
    failures: tuple[Failure, ...] = ()
    tampered: tuple[str, ...] = ()
    """Parts of the test runner that were replaced while it ran, and sources that were changed on disk."""
    command: tuple[str, ...] = ()
    output: str = ""
    """The end of what was printed."""
    seconds: float = 0.0

    @property
    def passed(self) -> frozenset[str]:
        return frozenset(test for test, outcome in self.outcomes.items() if outcome is Outcome.PASSED)

    @property
    def failed(self) -> frozenset[str]:
        return frozenset(test for test, outcome in self.outcomes.items() if outcome is Outcome.FAILED)

    @property
    def has_tests(self) -> bool:
        return bool(self.passed or self.failed or self.uncollected)

    @property
    def test_files(self) -> frozenset[str]:
        return frozenset(test.partition("::")[0] for test in self.outcomes) | frozenset(self.uncollected)


@dataclass(frozen=True)
class Baseline:
    """Two runs before the change; a test that they do not agree on is flaky and proves nothing."""

    first: SuiteRun
    second: SuiteRun

    @property
    def completed(self) -> bool:
        return self.first.status == "completed" == self.second.status

    @property
    def has_tests(self) -> bool:
        return self.first.has_tests or self.second.has_tests

    @property
    def flaky(self) -> frozenset[str]:
        known = self.first.outcomes.keys() | self.second.outcomes.keys()
        return frozenset(test for test in known if self.first.outcomes.get(test) != self.second.outcomes.get(test))

    @property
    def passed(self) -> frozenset[str]:
        return self.first.passed & self.second.passed

    @property
    def failed(self) -> frozenset[str]:
        return self.first.failed & self.second.failed

    @property
    def uncollected(self) -> frozenset[str]:
        return frozenset(self.first.uncollected) & frozenset(self.second.uncollected)

    @property
    def tampered(self) -> frozenset[str]:
        return frozenset(self.first.tampered) & frozenset(self.second.tampered)

    @property
    def test_files(self) -> frozenset[str]:
        return self.first.test_files | self.second.test_files


@dataclass(frozen=True)
class ChangeRequest:
    instruction: str
    commit: str
    bundle_sha256: str


@dataclass(frozen=True)
class ModelUse:
    engine: str = ""
    model: str = ""
    prompts: tuple[str, ...] = ()
    """Each prompt used, as name.v1."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class EvidenceBundle:
    """What replays the check: the same bundle, commit and patch give the same tree and the same outcomes."""

    commit: str
    bundle_sha256: str
    patch_sha256: str = ""
    tree: str = ""
    """The git tree that the commit and the patch give together."""
    baseline: Baseline | None = None
    restored: SuiteRun | None = None
    """The patch with all protected files as they are in the commit."""
    control: SuiteRun | None = None
    """The same again with every test made to fail at its end: one that is reported as passed was not run."""
    complete: SuiteRun | None = None
    """The patch as it is; only run when it changes protected files."""
    tests_alone: SuiteRun | None = None
    """The commit with the patch's tests but not its code; only run when no test of the commit asked for the change."""
    restored_files: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    sandbox: str = ""


@dataclass(frozen=True)
class Change:
    state: State
    reason: str
    patch: str
    """A unified diff from `git diff`; empty when there is none."""
    attempts: int
    model: ModelUse
    evidence: EvidenceBundle


@dataclass(frozen=True)
class TestOutcome:
    """One test before and after the change; "missing" where it was not reported."""

    __test__ = False

    test_id: str
    before: str
    after: str


def outcomes_of(evidence: EvidenceBundle) -> tuple[TestOutcome, ...]:
    """Every test that either run reported, by its id."""
    before = evidence.baseline.first.outcomes if evidence.baseline else {}
    after = evidence.restored.outcomes if evidence.restored else {}
    return tuple(
        TestOutcome(test, str(before.get(test, "missing")), str(after.get(test, "missing")))
        for test in sorted(before.keys() | after.keys())
    )


@dataclass(frozen=True)
class Provenance:
    """Who wrote a change, from what, and what it cost in tokens."""

    task: str
    trace_id: str
    engine: str
    model: str
    prompt_version: str
    repository: str
    commit: str
    prompt_tokens: int
    completion_tokens: int


# A message holds no more.
LARGEST_DELIVERED_BYTES = 800_000


def is_deliverable(change: Change) -> bool:
    """Whether the patch may be pushed: what was not verified stays here."""
    return change.state is State.VERIFIED and 0 < len(change.patch.encode()) <= LARGEST_DELIVERED_BYTES


@dataclass(frozen=True)
class StoredChange:
    change_id: UUID
    instruction: str
    source: str
    state: State
    reason: str
    patch: str
    tests: tuple[TestOutcome, ...]
    attempts: int
    evidence: str
    provenance: Provenance
    created_at: datetime
