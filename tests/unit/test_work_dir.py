from __future__ import annotations

import subprocess
import sys

import pytest

from morningai.work_dir import WorkDirIsTaken, remove_scratch, take_work_dir

HOLDER = (
    "import sys, pathlib, morningai.work_dir as w; w.take_work_dir(pathlib.Path(sys.argv[1])); print(1, flush=True)"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that works in the folder."""
    program = f"{HOLDER}; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    yield process
    process.kill()
    process.communicate()


def test_two_processes_do_not_share_a_folder(holder, tmp_path):
    with pytest.raises(WorkDirIsTaken, match="MORNINGAI_WORK_DIR"):
        take_work_dir(tmp_path)


def test_a_killed_process_leaves_its_folder_to_the_next(holder, tmp_path):
    holder.kill()
    holder.wait()
    take_work_dir(tmp_path)


def test_a_folder_that_is_missing_is_made(tmp_path):
    take_work_dir(tmp_path / "docs" / "first")
    assert (tmp_path / "docs" / "first").is_dir()


def test_only_what_is_named_is_removed(tmp_path):
    for name in ("tmpabc", "kept"):
        (tmp_path / name).mkdir()
    remove_scratch(tmp_path, "tmp*")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
