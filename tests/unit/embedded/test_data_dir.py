from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from morningai.embedded.data_dir import (
    SOCKET_PATH_LIMIT_BYTES,
    DataDir,
    make_private_folder,
    socket_folder,
    write_private_file,
)
from morningai.errors import FailedPrecondition


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_folder_is_its_owners_alone(tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path / "data")
    folders = (data_dir.root, data_dir.postgres, data_dir.nats, data_dir.logs, data_dir.run, data_dir.work)
    assert {mode(folder) for folder in folders} == {0o700}


def test_without_a_folder_the_platforms_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in DataDir.at().root.parents


def test_a_folder_with_somebody_elses_files_is_refused_and_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FailedPrecondition, match=r"thesis\.tex"):
        DataDir.at(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_folder_that_only_holds_a_model_is_taken(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert DataDir.at(tmp_path).models == tmp_path / "models"


def test_a_folder_used_before_may_hold_more_files(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "notes.txt").touch()
    assert DataDir.at(tmp_path).root == tmp_path


def test_a_folder_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="--data-dir"):
        make_private_folder(tmp_path / "file" / "below")


def test_sockets_live_in_the_folder_when_the_path_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert socket_folder(Path("run")) == Path("run")


def test_a_long_folder_gets_a_short_private_one_for_its_sockets(tmp_path: Path) -> None:
    chosen = socket_folder(tmp_path / ("x" * 120))
    assert len(os.fsencode(chosen / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT_BYTES
    assert mode(chosen) == 0o700
    chosen.rmdir()


def test_two_long_folders_do_not_share_sockets(tmp_path: Path) -> None:
    first, second = socket_folder(tmp_path / ("x" * 120)), socket_folder(tmp_path / ("y" * 120))
    assert first != second
    first.rmdir()
    second.rmdir()


def test_a_link_in_place_of_the_short_folder_is_refused(tmp_path: Path) -> None:
    chosen = socket_folder(tmp_path / ("x" * 120))
    chosen.rmdir()
    chosen.symlink_to(tmp_path)
    with pytest.raises(FailedPrecondition, match="not a folder of yours"):
        socket_folder(tmp_path / ("x" * 120))
    chosen.unlink()


def test_a_private_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private_file(path, "old")
    write_private_file(path, "new")
    assert (path.read_text(), mode(path), [entry.name for entry in tmp_path.iterdir()]) == ("new", 0o600, ["secret"])
