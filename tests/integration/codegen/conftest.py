from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.codegen.sandbox import Sandbox
from services.codegen.suite import Suite
from tests.integration.codegen.workshop import LIMITS, Workshop


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return asyncio.run(Sandbox.probe(tmp_path_factory.mktemp("sandbox")))


@pytest.fixture(scope="session")
def baselines() -> dict[str, str]:
    return {}


@pytest.fixture
def workshop(sandbox: Sandbox, tmp_path: Path, baselines: dict[str, str]) -> Workshop:
    return Workshop(Suite(sandbox, LIMITS), tmp_path, baselines)
