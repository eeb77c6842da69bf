"""Commands that work on this machine: up and model install."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from morningai.embedded.data_dir import DataDir
from morningai.embedded.lock import exclusive_lock
from tests.unit.cli.conftest import Cli


def test_up_on_a_live_data_folder_exits_3_and_says_so(cli: Cli, tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path / "data")

    with exclusive_lock(data_dir.lock_file):
        said = cli("up", "--data-dir", str(data_dir.root))

    assert said.code == 3
    assert "already running" in said.out + said.err


def test_up_on_a_live_data_folder_is_one_line_of_json(cli: Cli, tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path / "data")

    with exclusive_lock(data_dir.lock_file):
        said = cli("up", "--json", "--data-dir", str(data_dir.root))

    assert said.code == 3
    assert json.loads(said.out)["event"] == "live"


def test_a_model_file_that_is_not_there_is_refused_with_the_field(cli: Cli, tmp_path: Path) -> None:
    said = cli("model", "install", "--from", str(tmp_path / "nothing.gguf"), "--json")

    assert said.code == 2
    assert said.out == ""
    assert said.error["field"] == "file"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_model_of_wrong_size_is_never_installed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "wrong.gguf").write_bytes(b"too short")

    said = cli("model", "install", "--from", str(tmp_path / "wrong.gguf"), "--json")

    assert said.code == 5
    assert said.out == ""
    assert said.error["remedy"]
