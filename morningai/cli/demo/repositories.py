"""The demo's two repositories: the one it is started in, and a small one whose test fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from morningai.cli.repository import LocalRepository, find_repository, head_commit, read_git
from morningai.errors import InvalidInput

FIX_INSTRUCTION = "A test of discounted_cents fails. Fix pricing.py so that percent is a share of the price."
BROKEN_FILES = {
    "pricing.py": '''"""Prices in whole cents."""


def discounted_cents(price_cents: int, percent: int) -> int:
    """The price after a discount of `percent` percent, rounded down."""
    return price_cents - percent


def total_cents(prices_cents: list[int]) -> int:
    return sum(prices_cents)
''',
    "test_pricing.py": """from pricing import discounted_cents, total_cents


def test_a_discount_is_a_share_of_the_price():
    assert discounted_cents(2000, 25) == 1500


def test_without_a_discount_the_price_stays():
    assert discounted_cents(999, 0) == 999


def test_a_total_is_the_sum():
    assert total_cents([100, 250]) == 350
""",
    "README.md": "# Pricing\n\nPrices of a shop, in whole cents. Run the tests with `pytest`.\n",
}


@dataclass(frozen=True)
class DemoRepository:
    """`note` says what was done so that there is one; `temporary` when its folder goes with the demo's scratch."""

    local: LocalRepository
    note: str = ""
    temporary: bool = False

    @property
    def source_id(self) -> str:
        words = re.sub(r"[^a-z0-9]+", "-", self.local.name.lower())[:40].strip("-")
        return words if len(words) >= 3 else "repository"


def current_repository(folder: Path, scratch: Path) -> DemoRepository:
    """The repository the folder is in; a folder that is none, or a shallow clone, becomes one commit in `scratch`."""
    try:
        return DemoRepository(find_repository(folder))
    except InvalidInput as error:
        local = commit_of_folder(folder.resolve(), scratch / "repository")
        return DemoRepository(local, f"{error.problem} A temporary repository with one commit of it is used.", True)


def commit_of_folder(folder: Path, repository: Path) -> LocalRepository:
    """One commit of everything the folder holds and does not ignore; nothing is written into the folder."""
    _start(repository)
    places = (f"--git-dir={repository / '.git'}", f"--work-tree={folder}")
    read_git(*places, "add", "--all", folder=folder)
    read_git(*places, "commit", "--quiet", "--allow-empty", "-m", f"Everything in {folder.name}", folder=folder)
    return LocalRepository(repository, folder.name, head_commit(repository), 0)


def make_broken_repository(repository: Path) -> DemoRepository:
    _start(repository)
    for name, content in BROKEN_FILES.items():
        (repository / name).write_text(content, encoding="utf-8")
    read_git("add", "--all", folder=repository)
    read_git("commit", "--quiet", "-m", "Add prices", folder=repository)
    return DemoRepository(find_repository(repository), temporary=True)


def _start(repository: Path) -> None:
    repository.mkdir(parents=True)
    read_git("init", "--quiet", folder=repository)
    settings = {"user.name": "MorningAI demo", "user.email": "demo@morningai.invalid", "core.autocrlf": "false"}
    for name, value in settings.items():
        read_git("config", name, value, folder=repository)
