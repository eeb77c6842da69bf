from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.collector import Collector, collecting
from tests.e2e.model import ScriptedModel, scripted_model
from tests.e2e.platform import Platform, Tenant
from tests.e2e.repositories import git, make_word
from tests.git_server import ADDRESS, GitServer, serving_git

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
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A bare repository over https, for whoever knows its token."""
    folder = tmp_path_factory.mktemp("forge")
    git(folder, "init", "-q", "--bare", "-b", "main", "shop.git")
    with serving_git(folder / "shop.git", folder) as server:
        server.token = "forge-0123456789"
        yield server


@pytest.fixture(scope="session")
def platform(
    tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel, collector: Collector, forge: GitServer
) -> Iterator[Platform]:
    """Six processes with the scripted model and a collector of spans, shared by the tests that leave them running."""
    settings = model.settings | collector.settings | {"MORNINGAI_MODEL_EGRESS_ALLOWED": "127.0.0.1"}
    settings |= {
        "MORNINGAI_DOCS_EGRESS_ALLOWED": ADDRESS,
        "MORNINGAI_DOCS_CERTIFICATE_FILE": str(forge.certificate_file),
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
