from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from morningai.settings import ServiceSettings, SettingsInvalid, read_settings, read_variable

PLAIN = {"NATS_URL": "nats://h:1", "NATS_USER": "docs", "GRPC_ADDRESS": "h:2", "WORK_DIR": "/w"}
SECRET = {"DATABASE_DSN": "host=d", "RELAY_DSN": "host=r", "NATS_PASSWORD": "hush"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Plain settings as variables, secrets as files."""
    for name, value in PLAIN.items():
        monkeypatch.setenv(f"MORNINGAI_{name}", value)
    for name, value in SECRET.items():
        (tmp_path / f"morningai_{name.lower()}").write_text(f"{value}\n")
    monkeypatch.setenv("MORNINGAI_SECRETS_DIR", str(tmp_path))


def test_a_secret_is_read_from_its_file() -> None:
    settings = read_settings(ServiceSettings)
    assert (settings.nats_password, settings.nats_user) == ("hush", "docs")
    assert conninfo_to_dict(settings.database_dsn)["host"] == "d"


def test_a_database_that_is_gone_without_a_word_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_DATABASE_DSN", "host=d keepalives_idle=3")
    assert conninfo_to_dict(read_settings(ServiceSettings).database_dsn) == {
        "host": "d",
        "keepalives_idle": "3",
        "keepalives_interval": "5",
        "keepalives_count": "2",
        "tcp_user_timeout": "20000",
    }


def test_a_malformed_connection_string_stops_the_start_with_its_name_and_without_what_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MORNINGAI_DATABASE_DSN", "hush hush")
    with pytest.raises(SettingsInvalid, match=r"MORNINGAI_DATABASE_DSN: .*is no libpq connection string") as error:
        read_settings(ServiceSettings)
    assert "hush" not in str(error.value)


def test_a_variable_comes_before_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_NATS_PASSWORD", "louder")
    assert read_settings(ServiceSettings).nats_password == "louder"
    assert read_variable("MORNINGAI_NATS_PASSWORD") == "louder"


def test_a_missing_secret_stops_the_start_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "morningai_relay_dsn").unlink()
    with pytest.raises(SettingsInvalid, match="MORNINGAI_RELAY_DSN: Field required"):
        read_settings(ServiceSettings)


def test_a_one_shot_reads_a_secret_from_its_file() -> None:
    assert read_variable("MORNINGAI_RELAY_DSN") == "host=r"


def test_a_one_shot_without_a_setting_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MORNINGAI_SECRETS_DIR")
    with pytest.raises(SettingsInvalid, match="MORNINGAI_ADMIN_DSN"):
        read_variable("MORNINGAI_ADMIN_DSN")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNINGAI_NATS_CA_FILE", "")
    assert read_settings(ServiceSettings).nats_ca_file is None
