from __future__ import annotations

import os
from pathlib import Path

from services.codegen.sandbox.cgroups import ControlGroups, find_control_groups, make_groups, remove_stale_groups
from services.codegen.sandbox.limits import Limits

LIMITS = Limits(memory_bytes=1024, processes=7)


def test_version_1_groups_are_made_below_our_own(tmp_path: Path) -> None:
    (tmp_path / "memory" / "service").mkdir(parents=True)
    (tmp_path / "pids").mkdir()
    (tmp_path / "own").write_text("4:memory:/service\n8:pids:/gone\n0::/\n")
    groups = find_control_groups(tmp_path, tmp_path / "own")

    assert groups == ControlGroups(memory=tmp_path / "memory" / "service", processes=tmp_path / "pids")


def test_version_2_groups_need_both_controllers_delegated(tmp_path: Path) -> None:
    (tmp_path / "morningai-codegen").mkdir()
    for folder in (tmp_path, tmp_path / "morningai-codegen"):
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text("memory pids\n")
    groups = find_control_groups(tmp_path, tmp_path / "own")

    assert groups.unified
    assert groups.memory == groups.processes == tmp_path / "morningai-codegen"


def test_without_control_groups_there_are_none(tmp_path: Path) -> None:
    assert not find_control_groups(tmp_path, tmp_path / "own").available


def test_a_version_2_group_limits_memory_swap_and_processes(tmp_path: Path) -> None:
    (group,) = make_groups(ControlGroups(tmp_path, tmp_path, unified=True), "run", LIMITS)

    assert {file.name: file.read_text() for file in group.iterdir()} == {
        "memory.max": "1024",
        "memory.swap.max": "0",
        "pids.max": "7",
    }


def test_version_1_has_a_group_in_each_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "p").mkdir()
    made = make_groups(ControlGroups(tmp_path / "m", tmp_path / "p"), "run", LIMITS)

    assert made == (tmp_path / "m" / "run", tmp_path / "p" / "run")
    assert (tmp_path / "p" / "run" / "pids.max").read_text() == "7"


def test_groups_of_services_that_are_gone_are_removed_and_others_kept(tmp_path: Path) -> None:
    stale, ours = tmp_path / "morningai-999999999-run-a", tmp_path / f"morningai-{os.getpid()}-run-b"
    stale.mkdir()
    ours.mkdir()
    remove_stale_groups(ControlGroups(memory=tmp_path))

    assert list(tmp_path.iterdir()) == [ours]
