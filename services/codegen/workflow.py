"""The loop: baseline, then attempts of ask, draft, trial and independent check, until one holds or a limit is met.

Each step's result is recorded under (step, attempt) before the next begins, so a crash repeats at most one step and a
recorded model reply is never asked for again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import structlog
from pydantic import TypeAdapter

from morningai.errors import StepFailure
from morningai.llm import BudgetExhausted, ModelRefused
from services.codegen import nodes
from services.codegen.context import Context
from services.codegen.domain.changes import (
    Baseline,
    Change,
    ChangeRequest,
    EvidenceBundle,
    ModelUse,
    State,
    SuiteRun,
)
from services.codegen.domain.judgement import (
    Expectation,
    Judgement,
    describe_cause,
    describe_end,
    expect,
    judge,
    unmet,
)
from services.codegen.errors import EditRefused, PatchRefused
from services.codegen.suite import Suite
from services.codegen.verifier import Verification, verify
from services.codegen.workspace import WorkspaceLimits

log = structlog.get_logger()
_NAMED = 3
T = TypeVar("T")


class Work(Protocol):
    async def checkpoint(self, progress: float, text: str) -> None:
        """Reports progress, between 0 and 1; raises when the work was cancelled or superseded."""


class StepStore(Protocol):
    """Records of one change's steps; a record is JSON."""

    async def get(self, step: str, attempt: int) -> str | None: ...

    async def put(self, step: str, attempt: int, record: str) -> None: ...


@dataclass(frozen=True)
class Budget:
    attempts: int = 4
    tokens: int = 60_000
    """Prompt and answer, over all attempts."""
    seconds: float = 1_800.0
    output_tokens: int = 1_500
    """Of one answer."""
    prompt_tokens: int = 6_000
    """Most of one prompt; less where the model's context is smaller."""


@dataclass(frozen=True)
class Tools:
    suite: Suite
    model: nodes.EditModel
    budget: Budget
    workspace_limits: WorkspaceLimits


@dataclass(frozen=True)
class _Attempt:
    """What one attempt came to; without a judgement it was no candidate."""

    problem: str
    """For people: why it was not accepted."""
    feedback: str
    """The same for the model."""
    patch: str = ""
    judgement: Judgement | None = None
    verification: Verification | None = None

    @property
    def accepted(self) -> bool:
        return self.judgement is not None and self.judgement.state is not State.FAILED


@dataclass
class _Run:
    """One execution of the loop over one request; everything in it can be rebuilt from the step records."""

    request: ChangeRequest
    bundle: Path
    tools: Tools
    work: Work
    store: StepStore
    started: float = 0.0
    """Seconds since the epoch, of the first execution: its time goes on while a crash is being noticed."""
    model: ModelUse = ModelUse()  # noqa: RUF009  frozen
    attempts: int = 0

    async def once(self, step: str, attempt: int, kind: type[T], do: Callable[[], Awaitable[T]]) -> T:
        """The recorded result of a step, else that of doing it."""
        adapter = TypeAdapter(kind)
        recorded = await self.store.get(step, attempt)
        if recorded is not None:
            return adapter.validate_json(recorded)
        result = await do()
        await self.store.put(step, attempt, adapter.dump_json(result).decode())
        return result


async def make_change(request: ChangeRequest, bundle: Path, *, tools: Tools, work: Work, store: StepStore) -> Change:
    """Every end is a Change with an honest state.

    Raises what `work` raises, ModelUnavailable (worth a retry: the records are kept), and InvalidInput or StepFailure
    for a repository that cannot be read.
    """
    run = _Run(request, bundle, tools, work, store)
    try:
        run.started = await run.once("start", 0, float, _now)
        with TemporaryDirectory(prefix="change-", dir=tools.suite.sandbox.folder) as folder:
            return await _change(run, Path(folder))
    except ModelRefused as error:
        return _ended(run, State.MODEL_UNAVAILABLE, str(error))
    except BudgetExhausted as error:
        return _ended(run, State.BUDGET_EXHAUSTED, str(error))
    except StepFailure as error:
        if error.reason != State.SANDBOX_UNAVAILABLE:
            raise
        return _ended(run, State.SANDBOX_UNAVAILABLE, error.message)


async def _change(run: _Run, folder: Path) -> Change:
    budget, model = run.tools.budget, run.tools.model
    await run.work.checkpoint(0.0, "Reading the repository")
    prepared = await nodes.prepare(run.bundle, run.request.commit, folder, limits=run.tools.workspace_limits)
    await run.work.checkpoint(0.1, "Running the tests twice before the change")
    baseline = await run.once("baseline", 0, Baseline, lambda: nodes.run_baseline(run.tools.suite, prepared.tree))
    if not baseline.completed:
        run_before = baseline.first if baseline.first.status != "completed" else baseline.second
        reason = f"The tests cannot be run at this commit: {describe_end(run_before)}"
        return _ended(run, State.FAILED, reason, baseline=baseline)
    expectation = expect(baseline, run.request.instruction)
    context = _context(run, model, prepared, baseline, expectation)
    attempt = _Attempt(problem="", feedback="")
    while run.attempts < budget.attempts:
        if (exhausted := _exhausted(run)) and await run.store.get("reply", run.attempts + 1) is None:
            return _ended(
                run, State.BUDGET_EXHAUSTED, exhausted, attempt=attempt, baseline=baseline, expected=expectation
            )
        run.attempts += 1
        attempt = await _try(run, model, prepared, baseline, expectation, context, attempt.feedback)
        log.info("codegen.attempt.finished", attempt=run.attempts, accepted=attempt.accepted)
        if attempt.accepted and attempt.judgement:
            state, reason = attempt.judgement.state, attempt.judgement.reason
            return _ended(run, state, reason, attempt=attempt, baseline=baseline, expected=expectation)
    reason = f"No attempt of {run.attempts} held. The last one: {attempt.problem}"
    return _ended(run, State.FAILED, reason, attempt=attempt, baseline=baseline, expected=expectation)


async def _try(
    run: _Run,
    model: nodes.EditModel,
    prepared: nodes.Prepared,
    baseline: Baseline,
    expectation: Expectation,
    context: Context,
    feedback: str,
) -> _Attempt:
    number, budget = run.attempts, run.tools.budget
    progress = 0.2 + 0.7 * (number - 1) / budget.attempts
    await run.work.checkpoint(progress, f"Attempt {number}: asking the model")
    reply = await run.once(
        "reply",
        number,
        nodes.Reply,
        lambda: nodes.ask(
            model,
            context,
            run.request.instruction,
            feedback=feedback,
            attempt=number,
            max_output_tokens=budget.output_tokens,
        ),
    )
    run.model = _added(run.model, reply)
    try:
        draft = await nodes.draft(prepared, context, reply, baseline.test_files)
    except (EditRefused, PatchRefused) as refusal:
        return _Attempt(refusal.message, nodes.feedback_on_refusal(refusal.message))
    await run.work.checkpoint(progress, f"Attempt {number}: running the tests")
    trial = await run.once("trial", number, SuiteRun, lambda: _trial(run, prepared, draft))
    if problems := unmet(expectation, trial):
        problem = f"{len(problems)} expected tests do not pass: {', '.join(problems[:_NAMED])}."
        problem += describe_cause(problems[0], trial)
        shown = "" if nodes.is_small(model) else draft.patch
        return _Attempt(problem, nodes.feedback_on_failures(shown, trial, problems), draft.patch)
    await run.work.checkpoint(progress, f"Attempt {number}: checking it independently")
    return await _verified(run, draft, baseline, expectation)


async def _trial(run: _Run, prepared: nodes.Prepared, draft: nodes.Draft) -> SuiteRun:
    with TemporaryDirectory(prefix="trial-", dir=run.tools.suite.sandbox.folder) as folder:
        await prepared.workspace.export(draft.tree, Path(folder, "tree"))
        return await run.tools.suite.run(Path(folder, "tree"))


async def _verified(run: _Run, draft: nodes.Draft, baseline: Baseline, expectation: Expectation) -> _Attempt:
    async def check() -> Verification:
        return await verify(
            run.bundle,
            run.request.commit,
            draft.patch,
            suite=run.tools.suite,
            limits=run.tools.workspace_limits,
            test_files=baseline.test_files,
            shown_by_tests=expectation.shows_the_change,
        )

    verification = await run.once("verification", run.attempts, Verification, check)
    judged = judge(
        expectation,
        verification.restored,
        verification.control,
        complete=verification.complete,
        tests_alone=verification.tests_alone,
    )
    return _Attempt(judged.reason, nodes.feedback_on_refusal(judged.reason), draft.patch, judged, verification)


def _context(
    run: _Run, model: nodes.EditModel, prepared: nodes.Prepared, baseline: Baseline, expectation: Expectation
) -> Context:
    budget = run.tools.budget
    tokens = min(budget.prompt_tokens, model.prompt_budget(budget.output_tokens))
    wanted = expectation.wanted | expectation.files
    return nodes.find_context(prepared, baseline, run.request.instruction, wanted, tokens)


async def _now() -> float:
    return time.time()


def _exhausted(run: _Run) -> str:
    budget, seconds = run.tools.budget, time.time() - run.started
    if run.model.tokens >= budget.tokens:
        return f"The budget of {budget.tokens} tokens is used up after {run.attempts} attempts."
    if seconds >= budget.seconds:
        return f"The time of {budget.seconds:g} s is used up after {run.attempts} attempts."
    return ""


def _added(use: ModelUse, reply: nodes.Reply) -> ModelUse:
    return replace(
        use,
        engine=reply.engine,
        model=reply.model,
        prompts=tuple(dict.fromkeys((*use.prompts, reply.prompt))),
        prompt_tokens=use.prompt_tokens + reply.prompt_tokens,
        completion_tokens=use.completion_tokens + reply.completion_tokens,
    )


def _ended(
    run: _Run,
    state: State,
    reason: str,
    *,
    attempt: _Attempt | None = None,
    baseline: Baseline | None = None,
    expected: Expectation | None = None,
) -> Change:
    log.info("codegen.change.ended", state=state, attempts=run.attempts, tokens=run.model.tokens)
    patch = attempt.patch if attempt else ""
    checked = attempt.verification if attempt else None
    evidence = EvidenceBundle(
        commit=run.request.commit,
        bundle_sha256=run.request.bundle_sha256,
        patch_sha256=hashlib.sha256(patch.encode()).hexdigest() if patch else "",
        tree=checked.tree if checked else "",
        baseline=baseline,
        restored=checked.restored if checked else None,
        control=checked.control if checked else None,
        complete=checked.complete if checked else None,
        tests_alone=checked.tests_alone if checked else None,
        restored_files=checked.restored_files if checked else (),
        expected=tuple(sorted(expected.tests | expected.files)) if expected else (),
        flaky=tuple(sorted(baseline.flaky)) if baseline else (),
        sandbox=run.tools.suite.describe(),
    )
    return Change(state, reason, patch, attempts=run.attempts, model=run.model, evidence=evidence)
