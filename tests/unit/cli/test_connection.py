from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from morningai.cli.connection import ConnectionOptions, Target, find_key, find_place, parse_address
from morningai.errors import InvalidInput, Unauthenticated, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import KEY, OPERATOR_KEY, Script


def run_embedded(data_dir: Path, gateway: str, pid: int | None = None) -> None:
    """What `morningai up` leaves in its data folder while it runs."""
    (data_dir / "run").mkdir(parents=True)
    state = {"gateway": gateway, "pid": pid or os.getpid()}
    (data_dir / "run" / "services.json").write_text(json.dumps(state))
    (data_dir / "operator.key").write_text(f"{OPERATOR_KEY}\n")


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost:50051", Target("localhost:50051")),
        ("http://gateway:50051/", Target("gateway:50051")),
        ("[::1]:50051", Target("[::1]:50051")),
        ("unix:/run/gateway.sock", Target("unix:/run/gateway.sock")),
        ("https://ai.example.org", Target("ai.example.org:443", tls=True)),
        ("https://ai.example.org:8443", Target("ai.example.org:8443", tls=True)),
    ],
)
def test_an_address_is_read(address: str, target: Target) -> None:
    assert parse_address(address) == target


@pytest.mark.parametrize("address", ["localhost", "localhost:0", "localhost:99999", "ftp://x:1", "a b:1", "--json"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_address(address)

    assert caught.value.field == "--address"


def test_a_given_data_folder_beats_the_address_of_the_environment(tmp_path: Path) -> None:
    run_embedded(tmp_path / "data", "127.0.0.1:7")

    place = find_place(ConnectionOptions(data_dir=tmp_path / "data"), {"MORNINGAI_ADDRESS": "elsewhere:1"})

    assert place.target == Target("127.0.0.1:7")


def test_two_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        find_place(ConnectionOptions(address="a:1", data_dir=tmp_path), {})


def test_a_platform_that_was_killed_is_not_running(tmp_path: Path) -> None:
    run_embedded(tmp_path / "data", "127.0.0.1:7", pid=2**22 + 1)

    with pytest.raises(Unavailable):
        find_place(ConnectionOptions(data_dir=tmp_path / "data"), {})


def test_the_key_of_one_address_is_not_sent_to_another(tmp_path: Path) -> None:
    here = find_place(ConnectionOptions(address="here:1"), {})
    here.credentials.store(here.label, tenant="acme", key=KEY)
    there = find_place(ConnectionOptions(address="there:1"), {})

    assert find_key(here, ConnectionOptions(), {}, principal="tenant") == KEY
    with pytest.raises(Unauthenticated):
        find_key(there, ConnectionOptions(), {}, principal="tenant")


def test_a_tenant_key_in_the_environment_is_no_operator_key() -> None:
    place = find_place(ConnectionOptions(address="here:1"), {})

    with pytest.raises(Unauthenticated):
        find_key(place, ConnectionOptions(), {"MORNINGAI_API_KEY": KEY}, principal="operator")


def test_nothing_running_exits_5_and_names_the_command(cli: Cli, tmp_path: Path) -> None:
    said = cli("task", "list", "--data-dir", str(tmp_path / "nothing"))

    assert said.code == 5
    assert "morningai up" in said.err
    assert not (tmp_path / "nothing").exists()


def test_a_gateway_that_does_not_answer_exits_5(cli: Cli) -> None:
    said = cli("task", "list", "--address", "127.0.0.1:1", "--key", KEY, "--json")

    assert said.code == 5
    assert "cannot be reached" in str(said.error["message"])


def test_without_a_key_the_exit_code_is_4(cli: Cli, address: str, script: Script) -> None:
    said = cli("task", "list", "--address", address)

    assert said.code == 4
    assert "morningai tenant create" in said.err
    assert script.calls == []


def test_a_wrong_key_exits_4(cli: Cli, address: str) -> None:
    said = cli("task", "list", "--address", address, "--key", "mk_other.key", "--json")

    assert said.code == 4
    assert said.error["reason"] == "UNAUTHENTICATED"
    assert "tenant create" in str(said.error["next_step"])


def test_a_key_with_a_space_is_refused_before_it_is_sent(cli: Cli, address: str, script: Script) -> None:
    said = cli("task", "list", "--address", address, "--key", "mk a")

    assert said.code == 2
    assert script.calls == []


def test_a_new_tenant_of_the_running_platform_is_used_from_then_on(cli: Cli, address: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    run_embedded(data_dir, address)

    created = cli("tenant", "create", "acme", "--data-dir", str(data_dir))
    listed = cli("task", "list", "--data-dir", str(data_dir))

    assert created.code == 0
    assert KEY in created.out
    assert (data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert listed.code == 0


def test_a_second_tenant_keeps_the_key_of_the_first(cli: Cli, address: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    run_embedded(data_dir, address)

    cli("tenant", "create", "first", "--data-dir", str(data_dir))
    cli("tenant", "create", "second", "--data-dir", str(data_dir))

    kept = json.loads((data_dir / "credentials.json").read_text())["embedded"]
    assert kept["default"] == "second"
    assert set(kept["keys"]) == {"first", "second"}


def test_no_store_keeps_nothing(cli: Cli, address: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    run_embedded(data_dir, address)

    said = cli("tenant", "create", "acme", "--no-store", "--json", "--data-dir", str(data_dir))

    assert said.json["api_key"] == KEY
    assert said.json["stored"] is None
    assert not (data_dir / "credentials.json").exists()
