from __future__ import annotations

from pathlib import Path

import pytest

from morningai.embedded.child_part import ChildRunner
from morningai.embedded.data_dir import DataDir
from morningai.embedded.plan import Kernel, Plan, make_plan
from morningai.embedded.services import SERVICES


@pytest.fixture(autouse=True)
def no_model_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def plan_in(folder: Path, *, local_model: bool) -> Plan:
    kernel = Kernel(
        migrate=lambda dsn, passwords: None,
        ensure_operator_key=lambda dsn, key: None,
        nats_authorization=lambda passwords: "authorization {}",
    )
    return make_plan(DataDir.at(folder), kernel, gateway_address="127.0.0.1:50051", local_model=local_model)


def environments(plan: Plan) -> list[dict[str, str]]:
    runners = [part.runner for part in plan.parts if part.name in SERVICES]
    return [dict(runner.child.command.environment or {}) for runner in runners if isinstance(runner, ChildRunner)]


def test_services_wait_for_the_migrations_and_the_bus(tmp_path: Path) -> None:
    plan = plan_in(tmp_path / "data", local_model=False)
    depends = {part.name: part.depends_on for part in plan.parts}
    assert depends["migrate"] == ("postgres",)
    assert {depends[service] for service in SERVICES} == {("migrate", "nats")}


def test_without_a_model_no_service_is_told_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    plan = plan_in(tmp_path / "data", local_model=False)
    assert plan.engine == "extractive"
    assert len(environments(plan)) == 6
    assert not any("OPENAI_BASE_URL" in environment for environment in environments(plan))


def test_an_endpoint_of_the_environment_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    plan = plan_in(tmp_path / "data", local_model=True)
    assert "model" not in {part.name for part in plan.parts}
    assert all(environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1" for environment in environments(plan))


def test_a_missing_model_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    plan = plan_in(tmp_path / "data", local_model=True)
    assert plan.engine == "extractive"
    assert "morningai model install" in plan.engine_note
