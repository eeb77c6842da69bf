from __future__ import annotations

from pathlib import Path

import pytest

from morningai.embedded.data_dir import DataDir
from morningai.embedded.services import SERVICES, ServiceConnections, passed_environment, service_environment

CONNECTIONS = ServiceConnections(
    dsn=lambda login: f"postgresql://{login}@/morningai",
    nats_url="nats://127.0.0.1:4222",
    nats_passwords={service: f"{service}-password" for service in SERVICES},
    gateway_address="127.0.0.1:50051",
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
