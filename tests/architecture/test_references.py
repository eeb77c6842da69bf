"""Where a page says which test keeps something, that test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "ARCHITECTURE.md",
    "README.md",
    "docs/security.md",
    *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*/*.md")),
)
TEST = re.compile(r"`(tests/[\w/.]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_are_there(page: str) -> None:
    named = TEST.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_links_to_are_there(page: str) -> None:
    path = ROOT / page
    linked = LINK.findall(path.read_text(encoding="utf-8"))
    assert [name for name in linked if not (path.parent / name).exists()] == []


def test_the_page_on_security_names_every_test_of_isolation() -> None:
    named = set(TEST.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8")))
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/isolation/test_*.py")} <= named
