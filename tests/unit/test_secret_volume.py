from __future__ import annotations

import os
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from morningai.bus.permissions import SERVICES
from morningai.secret_volume import SecretVolume, bus_tls
from morningai.secrets.key_ring import KeyRing

OWN = (os.getuid(), os.getgid())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def fill(root: Path, *, database_host: str = "postgres") -> None:
    SecretVolume(root, dict.fromkeys(SERVICES, OWN)).fill(database_host)


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_every_file_is_its_owner_s_alone(folder: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o700}


def test_a_second_start_changes_nothing(folder: Path) -> None:
    first = contents(folder)
    fill(folder)
    assert contents(folder) == first


def test_another_database_host_keeps_the_passwords(folder: Path) -> None:
    before = conninfo_to_dict(contents(folder)["docs/morningai_database_dsn"])
    fill(folder, database_host="elsewhere")
    after = conninfo_to_dict(contents(folder)["docs/morningai_database_dsn"])
    assert after == {**before, "host": "elsewhere"}


def test_the_migrator_sets_the_password_that_a_service_presents(folder: Path) -> None:
    written = contents(folder)
    presented = conninfo_to_dict(written["codegen/morningai_relay_dsn"])
    assert presented["user"] == "codegen_relay"
    assert presented["password"] == written["migrate/morningai_codegen_relay_password"].strip()


def test_the_bus_expects_the_password_that_a_service_presents(folder: Path) -> None:
    written = contents(folder)
    assert f'"password": "{written["docs/morningai_nats_password"].strip()}"' in written["nats/nats-server.conf"]


def test_tenancy_alone_can_admit_subscribers(folder: Path) -> None:
    holders = {path.parent.name for path in folder.glob("*/morningai_callout_password")}
    holders |= {path.parent.name for path in folder.glob("*/morningai_issuer_secret")}
    assert holders == {"tenancy"}


def test_no_two_passwords_are_the_same(folder: Path) -> None:
    passwords = [text for path, text in contents(folder).items() if path.endswith("password")]
    assert len(set(passwords)) == len(passwords) == 21


def test_each_service_that_keeps_credentials_has_a_key_of_its_own_to_wrap_with(folder: Path) -> None:
    keys = {path.partition("/")[0]: text for path, text in contents(folder).items() if path.endswith("secret_keys")}
    currents = {service: KeyRing.parse(text).current for service, text in keys.items()}
    assert currents == {"gateway": "k1", "docs": "k1", "tenancy": "k1"}
    assert len(set(keys.values())) == 3


def test_a_service_has_nothing_but_its_three_secrets(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "faqgen").iterdir()) == [
        "morningai_database_dsn",
        "morningai_nats_password",
        "morningai_relay_dsn",
    ]


def test_the_bus_speaks_tls_with_the_files_that_are_named(monkeypatch, tmp_path):
    assert bus_tls() == ""
    monkeypatch.setenv("MORNINGAI_NATS_CERTIFICATE_FILE", "/tls/bus.pem")
    with pytest.raises(ValueError, match="MORNINGAI_NATS_KEY_FILE"):
        bus_tls()
    monkeypatch.setenv("MORNINGAI_NATS_KEY_FILE", "/tls/bus.key")
    SecretVolume(tmp_path, {}, bus_tls()).fill("postgres")
    assert '"cert_file": "/tls/bus.pem"' in (tmp_path / "nats" / "nats-server.conf").read_text()


def test_each_node_of_a_cluster_has_its_own_configuration_with_the_routes_to_all(tmp_path: Path) -> None:
    SecretVolume(tmp_path, dict.fromkeys(SERVICES, OWN), bus_nodes=("a", "b")).fill("postgres")
    first, second = (contents(tmp_path)[f"nats/{name}.conf"] for name in ("a", "b"))
    assert first.replace('server_name: "a"', 'server_name: "b"') == second
    assert "@a:6222" in first
    assert "@b:6222" in first
