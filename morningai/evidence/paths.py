"""What a path says about its file: how it is read, and how much it is worth as a source."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePosixPath

_PROSE_SUFFIXES = frozenset({".md", ".markdown", ".rst", ".txt", ".adoc", ".org", ".mdx"})
_SETTING_SUFFIXES = frozenset(
    {".toml", ".yaml", ".yml", ".json", ".ini", ".cfg", ".conf", ".env", ".properties", ".lock"}
)
_SETTING_NAMES = ("makefile", "dockerfile", "justfile", "procfile", "containerfile", "gnumakefile", ".env")
_EDITORS = frozenset({".vscode", ".idea", ".devcontainer"})
_FOREIGN = frozenset({"vendor", "node_modules", "third_party"})
_HISTORY = frozenset({"changelog", "changes"})
_TESTS = frozenset({"tests", "test", "testing", "__tests__", "spec", "fixtures"})
_EXAMPLES = frozenset({"examples", "example", "samples", "tutorial", "patterns", "benchmarks"})
_TEST_NAME = re.compile(r"(?:_test|[.-]test|[.-]spec|tests?(?=\.cs$))\.\w+$")
_MANIFESTS = (
    "pyproject.toml",
    "package.json",
    "requirements",
    "go.mod",
    "cargo.toml",
    "gemfile",
    "dockerfile",
    "compose",
    "docker-compose",
)
_PROMINENT = ("readme", "architecture", "design", "overview")


@lru_cache(maxsize=8192)
def is_prose(path: str) -> bool:
    name = PurePosixPath(path)
    if not name.suffix:
        return name.name.isupper() or name.name.lower().startswith("readme")
    return name.suffix.lower() in _PROSE_SUFFIXES and not is_settings(path)


@lru_cache(maxsize=8192)
def is_settings(path: str) -> bool:
    name = PurePosixPath(path)
    lowered = name.name.lower()
    return (
        name.suffix.lower() in _SETTING_SUFFIXES or lowered.startswith(_SETTING_NAMES) or lowered == "requirements.txt"
    )


@lru_cache(maxsize=8192)
def path_prior(path: str) -> float:
    """How much a file is worth as a source: documentation first, history, tests and generated files last."""
    *folders, name = path.lower().split("/")
    folders = [folder.lstrip("_") for folder in folders]
    if name.startswith(("readme", "architecture")) and not folders:
        return 1.15
    if "_pb2" in name or name.endswith((".pyi", ".d.ts")) or "generated" in folders:
        return 0.5
    if name.endswith((".lock", "lock.json", "-lock.yaml", ".min.js")) or not _FOREIGN.isdisjoint(folders):
        return 0.3
    if name.startswith(("change", "history", "news", "release")) or not _HISTORY.isdisjoint(folders):
        return 0.55
    if not _EDITORS.isdisjoint(folders) or name.startswith(("license", "licence", "copying", "notice")):
        return 0.5
    if name.startswith("test_") or _TEST_NAME.search(name) or not _TESTS.isdisjoint(folders):
        return 0.5
    return 0.8 if not _EXAMPLES.isdisjoint(folders) else 1.0


def is_prominent(path: str) -> bool:
    """Documents that describe the whole: README and architecture pages at the root or in docs/."""
    parts = path.lower().split("/")
    return parts[-1].startswith(_PROMINENT) and (len(parts) == 1 or parts[0] in {"docs", "doc"})


def is_manifest(path: str) -> bool:
    parts = path.lower().split("/")
    return len(parts) == 1 and parts[0].startswith(_MANIFESTS)
