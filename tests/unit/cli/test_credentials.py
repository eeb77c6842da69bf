from __future__ import annotations

from pathlib import Path

import pytest

from morningai.cli.credentials import CredentialsFile
from morningai.errors import FailedPrecondition


def test_the_newest_key_of_an_address_is_its_default(tmp_path: Path) -> None:
    file = CredentialsFile(tmp_path / "new" / "credentials.json")
    file.store("here:1", tenant="first", key="mk_1")
    file.store("here:1", tenant="second", key="mk_2")
    file.store("there:1", tenant="third", key="mk_3")

    assert file.default_key("here:1") == "mk_2"
    assert file.default_key("elsewhere:1") is None


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = CredentialsFile(tmp_path / "new" / "credentials.json")
    file.store("here:1", tenant="first", key="mk_1")

    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["{", "[]", '{"here:1": {"default": 3}}'])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, content: str) -> None:
    file = CredentialsFile(tmp_path / "credentials.json")
    file.path.write_text(content)

    with pytest.raises(FailedPrecondition, match="is damaged"):
        file.default_key("here:1")
    with pytest.raises(FailedPrecondition, match="is damaged"):
        file.store("here:1", tenant="first", key="mk_1")
    assert file.path.read_text() == content
