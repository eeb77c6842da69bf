from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.collector import Collector, collecting
from tests.e2e.model import ScriptedModel, scripted_model
from tests.e2e.platform import Platform, Tenant
from tests.e2e.repositories import make_word

PLATFORM_ORGANIZATION = "org-of-the-platform"


@pytest.fixture(scope="session")
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as model:
        yield model


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def platform(
    tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel, collector: Collector
) -> Iterator[Platform]:
    """Six processes with the scripted model and a collector of spans, shared by the tests that leave them running."""
    settings = model.settings | collector.settings | {"MORNINGAI_MODEL_EGRESS_ALLOWED": "127.0.0.1"}
    settings |= {
        "OPENAI_ORG_ID": PLATFORM_ORGANIZATION,
        "OPENAI_CUSTOM_HEADERS": f"x-platform: {PLATFORM_ORGANIZATION}",
    }
    platform = Platform(tmp_path_factory.mktemp("shared"), settings=settings, use_model=True)
    try:
        platform.start()
        yield platform
        assert platform.crashes() == []
    finally:
        platform.stop()


@pytest.fixture
def tenant(platform: Platform) -> Iterator[Tenant]:
    with platform.tenant() as tenant:
        yield tenant


@pytest.fixture
def word() -> str:
    """What this test's repository and prompts are about."""
    return make_word()
