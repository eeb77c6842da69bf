from __future__ import annotations

import os
from pathlib import Path

import pytest

from morningai.embedded.lock import DataDirIsLive, exclusive_lock


def test_a_second_holder_is_told_the_firsts_process(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "lock"), pytest.raises(DataDirIsLive) as caught, exclusive_lock(tmp_path / "lock"):
        pass
    assert caught.value.holder_pid == os.getpid()
    assert str(os.getpid()) in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_lock_can_be_taken_again_after_its_end(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "lock"):
        pass
    with exclusive_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_file_left_by_a_dead_holder_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789\n")
    with exclusive_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_holder_that_cannot_be_read_is_still_a_holder(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "lock"):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataDirIsLive, match="another process"), exclusive_lock(tmp_path / "lock"):
            pass
