from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from morningai.embedded.leftover import ChildRecord, end_leftover, leader_of, members_of


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = ChildRecord(pid=12, started_at=3.5, stop_signal=2)
    record.write(tmp_path / "run" / "docs.child.json")
    assert ChildRecord.read(tmp_path / "run" / "docs.child.json") == record


@pytest.mark.parametrize("content", ["", "null", "{}", '{"pid": "x", "started_at": 1, "stop_signal": 15}'])
def test_a_damaged_record_names_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "docs.child.json").write_text(content)
    assert ChildRecord.read(tmp_path / "docs.child.json") is None


async def test_a_process_that_only_has_the_same_id_is_left_alone(tmp_path: Path) -> None:
    """The record names this very process, but says that it started an hour before it did."""
    record = ChildRecord.of_running(os.getpid())
    assert record is not None
    stranger = ChildRecord(pid=record.pid, started_at=record.started_at - 3600)
    stranger.write(tmp_path / "docs.child.json")
    assert leader_of(stranger) is None
    assert members_of(stranger) == []
    assert await end_leftover(tmp_path / "docs.child.json") is False


async def test_a_record_of_a_process_that_ended_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "docs.child.json"
    path.write_text(json.dumps({"pid": 2**22 - 1, "started_at": 1.0, "stop_signal": 15}))
    assert await end_leftover(path) is False
    assert not path.exists()
