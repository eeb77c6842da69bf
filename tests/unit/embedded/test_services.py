from __future__ import annotations

from pathlib import Path

import pytest

from morningai.bus import server_config
from morningai.embedded.data_dir import DataDir
from morningai.embedded.services import (
    BUS_SECRETS,
    SERVICES,
    ServiceConnections,
    passed_environment,
    service_environment,
)

CONNECTIONS = ServiceConnections(
    dsn=lambda login: f"postgresql://{login}@/morningai",
    nats_url="nats://127.0.0.1:4222",
    nats_secrets={name: f"{name}-password" for name in BUS_SECRETS},
    gateway_address="127.0.0.1:50051",
    secret_keys={"gateway": "k1:key", "docs": "k1:other"},
)


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataDir:
    return DataDir.at(tmp_path / "d")


def test_a_service_gets_its_own_logins_and_nobody_elses(data_dir: DataDir) -> None:
    environment = service_environment("docs", data_dir, CONNECTIONS, given={})
    assert environment["MORNINGAI_DATABASE_DSN"] == "postgresql://docs_app@/morningai"
    assert environment["MORNINGAI_RELAY_DSN"] == "postgresql://docs_relay@/morningai"
    assert environment["MORNINGAI_NATS_USER"] == "docs"
    assert environment["MORNINGAI_NATS_PASSWORD"] == "docs-password"
    assert "faqgen-password" not in environment.values()


def test_tenancy_alone_can_admit_subscribers(data_dir: DataDir) -> None:
    known = {
        name: service_environment(name, data_dir, CONNECTIONS, given={}).keys()
        & {"MORNINGAI_CALLOUT_PASSWORD", "MORNINGAI_ISSUER_SECRET"}
        for name in SERVICES
    }
    assert {name: len(secrets) for name, secrets in known.items()} == dict.fromkeys(SERVICES, 0) | {"tenancy": 2}


def test_the_bus_is_given_the_secrets_it_asks_for() -> None:
    assert BUS_SECRETS == server_config.BUS_SECRETS


def test_the_gateway_alone_gets_the_login_that_delivers_webhooks(data_dir: DataDir) -> None:
    environments = {name: service_environment(name, data_dir, CONNECTIONS, given={}) for name in SERVICES}
    found = {name: environment.get("MORNINGAI_SENDER_DSN") for name, environment in environments.items()}
    assert {name: dsn for name, dsn in found.items() if dsn} == {"gateway": "postgresql://gateway_sender@/morningai"}


def test_only_who_keeps_credentials_gets_a_key_to_wrap_with(data_dir: DataDir) -> None:
    environments = {name: service_environment(name, data_dir, CONNECTIONS, given={}) for name in SERVICES}
    keys = {name: environment.get("MORNINGAI_SECRET_KEYS") for name, environment in environments.items()}
    assert {name: key for name, key in keys.items() if key} == {"gateway": "k1:key", "docs": "k1:other"}


def test_only_the_gateway_listens_on_a_port(data_dir: DataDir) -> None:
    addresses = {
        name: service_environment(name, data_dir, CONNECTIONS, given={})["MORNINGAI_GRPC_ADDRESS"] for name in SERVICES
    }
    assert addresses.pop("gateway") == "127.0.0.1:50051"
    assert all(address.startswith("unix:/") for address in addresses.values())


def test_a_service_knows_the_others_where_they_listen(data_dir: DataDir) -> None:
    docs = service_environment("docs", data_dir, CONNECTIONS, given={})
    gateway = service_environment("gateway", data_dir, CONNECTIONS, given={})
    assert gateway["MORNINGAI_DOCS_ADDRESS"] == docs["MORNINGAI_GRPC_ADDRESS"]
    assert "MORNINGAI_DOCS_ADDRESS" not in docs


def test_what_up_decides_wins_over_the_callers_environment(data_dir: DataDir) -> None:
    environment = service_environment("docs", data_dir, CONNECTIONS, given={"MORNINGAI_NATS_USER": "admin"})
    assert environment["MORNINGAI_NATS_USER"] == "docs"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT", "MORNINGAI_LOG_LEVEL", "PATH"])
def test_settings_are_passed_on(name: str) -> None:
    assert passed_environment({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "PGPASSWORD"])
def test_other_credentials_of_the_caller_are_not(name: str) -> None:
    assert passed_environment({name: "x"}) == {}


def test_certificates_of_the_caller_s_environment_do_not_reach_services_that_stay_plain():
    given = {"MORNINGAI_TLS_CERTIFICATE_FILE": "a", "MORNINGAI_INTERNAL_CA_FILE": "b", "MORNINGAI_LOG_LEVEL": "debug"}
    assert passed_environment(given) == {"MORNINGAI_LOG_LEVEL": "debug"}
