"""The independent check: a fresh workspace from the bundle, the patch alone, and the commit's own tests put back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.codegen.domain.changes import SuiteRun
from services.codegen.domain.policy import changes_tests, check_patch, is_restored
from services.codegen.suite import Suite
from services.codegen.workspace import Workspace, WorkspaceLimits


@dataclass(frozen=True)
class Verification:
    tree: str
    restored_files: tuple[str, ...]
    restored: SuiteRun
    control: SuiteRun
    complete: SuiteRun | None
    """None unless the patch changes tests."""
    tests_alone: SuiteRun | None = None
    """The commit with nothing of the patch but its tests; only run when the commit's own tests show nothing."""


async def verify(
    bundle: Path,
    commit: str,
    patch: str,
    *,
    suite: Suite,
    limits: WorkspaceLimits,
    test_files: frozenset[str],
    shown_by_tests: bool,
) -> Verification:
    """Shares nothing with the attempt that made the patch; raises PatchRefused when the policy or git refuses it."""
    with tempfile.TemporaryDirectory(prefix="verify-", dir=suite.sandbox.folder) as scratch:
        workspace = await Workspace.open(bundle, commit, Path(scratch, "repository"), limits=limits)
        tree = await workspace.apply(commit, patch)
        changes = await workspace.changes(commit, tree)
        check_patch(changes, test_files, (await workspace.entries(commit)).keys())
        protected = tuple(change.path for change in changes if is_restored(change, test_files))
        restored_tree = await workspace.restore(tree, commit, protected) if protected else tree
        await workspace.export(restored_tree, Path(scratch, "restored"))
        restored = await suite.run(Path(scratch, "restored"))
        control = await suite.run_control(Path(scratch, "restored"))
        complete = tests_alone = None
        if any(changes_tests(change, test_files) for change in changes):
            await workspace.export(tree, Path(scratch, "complete"))
            complete = await suite.run(Path(scratch, "complete"))
            if not shown_by_tests:
                code = [change.path for change in changes if change.path not in protected]
                await workspace.export(await workspace.restore(tree, commit, code), Path(scratch, "tests"))
                tests_alone = await suite.run(Path(scratch, "tests"))
        return Verification(tree, protected, restored, control, complete, tests_alone)
