from __future__ import annotations

import pytest

from morningai.errors import FailedPrecondition
from services.docs.git.version import check_git, check_version


@pytest.mark.parametrize("written", ["git version 2.37.9", "git version 1.99.0", "", "zsh: command not found"])
def test_a_git_that_cannot_pin_addresses_is_refused(written: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"2\.38"):
        check_version(written)


@pytest.mark.parametrize("written", ["git version 2.38.0", "git version 2.39.5 (Apple Git-154)", "git version 3.0.1"])
def test_a_newer_git_is_accepted(written: str) -> None:
    check_version(written)


async def test_the_git_of_this_machine_is_new_enough() -> None:
    await check_git()


async def test_a_machine_without_git_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FailedPrecondition):
        await check_git()
