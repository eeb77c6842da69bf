"""A scripted model and tiny repositories, and the loop run over them with real git, sandbox and pytest."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from morningai.llm import Completion, Prompt
from services.codegen.domain.changes import Change, ChangeRequest
from services.codegen.sandbox import Limits
from services.codegen.suite import Suite
from services.codegen.workflow import Budget, Tools, make_change
from services.codegen.workspace import WorkspaceLimits


def make_repository(folder: Path, files: Mapping[str, str]) -> Repository:
    bundle = folder.with_suffix(".bundle")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-q", "-m", "start")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    subprocess.run(["git", "bundle", "create", "-q", str(bundle), "--all"], cwd=folder, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return Repository(bundle, commit.stdout.strip())


LIMITS = Limits(wall_seconds=20, workspace_bytes=32 * 1024 * 1024, output_bytes=256 * 1024)
WORKSPACE_LIMITS = WorkspaceLimits(seconds=20)


@dataclass(frozen=True)
class Repository:
    bundle: Path
    commit: str


@dataclass
class ScriptedModel:
    """Gives its replies in order, then the last one again; keeps the prompts it was sent."""

    replies: list[str]
    tokens_of_a_call: int = 1_000
    prompts: list[Prompt] = field(default_factory=list)
    engine: str = "scripted"
    model: str = "scripted-1"

    def prompt_budget(self, max_output_tokens: int) -> int:
        return 8_192 - max_output_tokens

    async def complete_text(self, prompt: Prompt, max_output_tokens: int, *, temperature: float) -> Completion[str]:
        reply = self.replies[min(len(self.prompts), len(self.replies) - 1)]
        self.prompts.append(prompt)
        return Completion(reply, self.engine, self.model, prompt_tokens=self.tokens_of_a_call, completion_tokens=0)


@dataclass
class RecordedSteps:
    records: dict[tuple[str, int], str] = field(default_factory=dict)

    async def get(self, step: str, attempt: int) -> str | None:
        return self.records.get((step, attempt))

    async def put(self, step: str, attempt: int, record: str) -> None:
        self.records[step, attempt] = record


@dataclass
class UnwatchedWork:
    texts: list[str] = field(default_factory=list)

    async def checkpoint(self, progress: float, text: str) -> None:
        self.texts.append(text)


@dataclass(frozen=True)
class Workshop:
    """Everything a change needs but the repository and the model's replies."""

    suite: Suite
    folder: Path
    baselines: dict[str, str] = field(default_factory=dict)
    """Those of earlier changes to the same files: tests of one session need not run them again."""

    async def change(
        self,
        files: Mapping[str, str],
        model: ScriptedModel,
        *,
        instruction: str = "Fix the failing test.",
        budget: Budget | None = None,
        steps: RecordedSteps | None = None,
        work: UnwatchedWork | None = None,
    ) -> Change:
        repository = make_repository(self.folder / "origin", files)
        tools = Tools(self.suite, model, budget or Budget(attempts=1), WORKSPACE_LIMITS)
        request = ChangeRequest(instruction, repository.commit, bundle_sha256="0" * 64)
        store = steps or RecordedSteps()
        if str(files) in self.baselines:
            store.records.setdefault(("baseline", 0), self.baselines[str(files)])
        change = await make_change(request, repository.bundle, tools=tools, work=work or UnwatchedWork(), store=store)
        if steps is None and ("baseline", 0) in store.records:
            self.baselines[str(files)] = store.records["baseline", 0]
        return change


def tree_after_git_apply(folder: Path, patch: str) -> str:
    subprocess.run(["git", "apply", "--index", "-"], cwd=folder, input=patch.encode(), check=True)
    tree = subprocess.run(["git", "write-tree"], cwd=folder, check=True, capture_output=True, text=True)
    return tree.stdout.strip()
