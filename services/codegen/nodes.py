"""The steps of a change, one function each: prepare, baseline, ask, draft; the workflow orders them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from morningai.errors import storable
from morningai.llm import BudgetExhausted, Completion, ModelFailure, ModelRefused, Prompt, TaskLimitReached, load_prompt
from services.codegen.context import Context, choose_context
from services.codegen.domain.changes import Baseline, SuiteRun
from services.codegen.domain.edits import apply_edits, parse_edits
from services.codegen.domain.policy import REGULAR_FILE, check_patch
from services.codegen.domain.python import parse_or_raise
from services.codegen.domain.rewrites import apply_rewrites
from services.codegen.errors import EditRefused
from services.codegen.suite import Suite
from services.codegen.workspace import Workspace, WorkspaceLimits

_LARGEST_EDITED_BYTES = 200_000
_FEEDBACK_CHARACTERS = 4_000
_PATCH_CHARACTERS, _FAILURE_CHARACTERS = 1_500, 1_500
# What the prompt's own words, the tags and the model's chat template take.
_PROMPT_OVERHEAD_TOKENS = 500
_LEAST_CONTEXT_TOKENS = 500
# At zero the same words bring the same answer again.
_FIRST, _LATER = 0.0, 0.8
# A model with a small context is a small model: it writes functions well, and edit blocks hardly ever.
_SMALL_CONTEXT_TOKENS = 24_000
_REWRITE, _BLOCKS = ("rewrite_functions", 1), ("edit_blocks", 1)


class EditModel(Protocol):
    """The part of `morningai.llm.ModelClient` that this service uses."""

    @property
    def engine(self) -> str: ...

    @property
    def model(self) -> str: ...

    def prompt_budget(self, max_output_tokens: int) -> int: ...

    async def complete_text(self, prompt: Prompt, max_output_tokens: int, *, temperature: float) -> Completion[str]: ...


@dataclass(frozen=True)
class Prepared:
    """The repository at the commit: its objects, its files on disk, and those texts that may be shown and edited."""

    workspace: Workspace
    tree: Path
    paths: frozenset[str]
    """Of all its files."""
    files: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """A model's answer as it is recorded; `problem` says why there is no text."""

    text: str
    prompt: str
    engine: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    problem: str = ""


@dataclass(frozen=True)
class Draft:
    tree: str
    patch: str


def is_small(model: EditModel) -> bool:
    return model.prompt_budget(0) < _SMALL_CONTEXT_TOKENS


async def prepare(bundle: Path, commit: str, folder: Path, *, limits: WorkspaceLimits) -> Prepared:
    workspace = await Workspace.open(bundle, commit, folder / "repository", limits=limits)
    await workspace.export(commit, folder / "base")
    entries = await workspace.entries(commit)
    small = {path: entry for path, entry in entries.items() if entry.size_bytes <= _LARGEST_EDITED_BYTES}
    plain = {
        path: entry.object_id for path, entry in small.items() if entry.mode == REGULAR_FILE and path.isprintable()
    }
    contents = await workspace.contents(plain.values())
    texts = {path: _text(contents[object_id]) for path, object_id in plain.items()}
    shown = {path: text for path, text in texts.items() if text is not None}
    return Prepared(workspace, folder / "base", frozenset(entries), shown)


async def run_baseline(suite: Suite, tree: Path) -> Baseline:
    return Baseline(await suite.run(tree), await suite.run(tree))


def find_context(
    prepared: Prepared, baseline: Baseline, instruction: str, wanted: frozenset[str], tokens: int
) -> Context:
    failures = [failure for failure in baseline.first.failures if failure.test_id in wanted]
    budget = max(tokens - _PROMPT_OVERHEAD_TOKENS, _LEAST_CONTEXT_TOKENS)
    return choose_context(prepared.files, instruction=instruction, failures=failures, budget_tokens=budget)


async def ask(
    model: EditModel, context: Context, instruction: str, *, feedback: str, attempt: int, max_output_tokens: int
) -> Reply:
    """A reply that cannot be used is an answer too: it is recorded and costs an attempt.

    ModelRefused, BudgetExhausted and TaskLimitReached are raised.
    """
    name, version = _prompt_for(context, attempt, is_small=is_small(model))
    prompt = load_prompt(__package__, name, version).fill(
        {
            "instruction": instruction,
            "failures": context.failures,
            "paths": ", ".join(context.shown) or "no file",
            "code": context.files,
            "feedback": f"\n{feedback[:_FEEDBACK_CHARACTERS]}\n" if feedback else "",
        }
    )
    label = f"{name}.v{version}"
    try:
        done = await model.complete_text(prompt, max_output_tokens, temperature=_FIRST if attempt == 1 else _LATER)
    except (ModelRefused, BudgetExhausted, TaskLimitReached):
        raise
    except ModelFailure as error:
        used = error.usage
        return Reply("", label, model.engine, model.model, used.prompt_tokens, used.completion_tokens, error.message)
    return Reply(storable(done.value), label, done.engine, done.model, done.prompt_tokens, done.completion_tokens)


async def draft(prepared: Prepared, context: Context, reply: Reply, test_files: frozenset[str]) -> Draft:
    """The tree and patch of a reply; raises EditRefused or PatchRefused with words for the model."""
    if reply.problem:
        raise EditRefused(reply.problem)
    files = edited_files(reply.text, prepared.files, context)
    base = prepared.workspace.commit
    tree = await prepared.workspace.write_tree(base, {path: text.encode() for path, text in files.items()})
    check_patch(await prepared.workspace.changes(base, tree), test_files, prepared.paths)
    return Draft(tree, await prepared.workspace.diff(base, tree))


def edited_files(reply: str, files: Mapping[str, str], context: Context) -> dict[str, str]:
    """The new texts by path; a file with Windows line ends keeps them."""
    texts = {path: text.replace("\r\n", "\n") if _has_windows_ends(text) else text for path, text in files.items()}
    reply = reply.replace("\r\n", "\n")
    edits = parse_edits(reply)
    changed = apply_edits(edits, texts, context.shown) if edits else apply_rewrites(reply, texts, context.shown)
    for path, text in changed.items():
        if path.endswith(".py"):
            _check_syntax(path, text)
    return {path: _with_line_ends(text, files.get(path, "")) for path, text in changed.items()}


def feedback_on_refusal(problem: str) -> str:
    return f"Your last answer could not be used: {problem}"


def feedback_on_failures(patch: str, run: SuiteRun, problems: tuple[str, ...]) -> str:
    """The patch only for a model that does not repeat what it is shown: a small one gets an empty one."""
    texts = [f"{failure.test_id}:\n{failure.text}" for failure in run.failures if _concerns(failure.test_id, problems)]
    failures = ("\n\n".join(texts) or ", ".join(problems))[-_FAILURE_CHARACTERS:]
    tried = f"Your last answer was:\n{patch[:_PATCH_CHARACTERS]}\n" if patch else "An earlier fix was wrong.\n"
    return f"{tried}With it these tests fail:\n{failures}\nThe fix must pass these tests too."


def _concerns(test_id: str, problems: tuple[str, ...]) -> bool:
    return test_id in problems or test_id.partition("::")[0] in problems


def _prompt_for(context: Context, attempt: int, *, is_small: bool) -> tuple[str, int]:
    """Whole functions, where there is only Python to change; a large model takes turns between the two forms."""
    only_python = all(path.endswith(".py") for path in context.shown) and bool(context.shown)
    return _REWRITE if only_python and (is_small or attempt % 2 == 1) else _BLOCKS


def _check_syntax(path: str, text: str) -> None:
    try:
        parse_or_raise(text)
    except SyntaxError as error:
        raise EditRefused(f"After the edit {path} is not valid Python: {error}.") from error


def _with_line_ends(text: str, original: str) -> str:
    return text.replace("\n", "\r\n") if _has_windows_ends(original) else text


def _has_windows_ends(text: str) -> bool:
    """True when every line ends so; where line ends are mixed each stays as it is."""
    return 0 < text.count("\r\n") == text.count("\n")


def _text(content: bytes) -> str | None:
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None
