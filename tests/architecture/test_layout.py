"""What keeps the code findable: small modules, the same files in every service, a scope on every method."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor_pool import Default

from morningai.db.migrate import SERVICES
from morningai.rpc.call import rules_of

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 400
API = ROOT / "morningai" / "api"
MODULES = [
    path for folder in ("morningai", "services") for path in (ROOT / folder).rglob("*.py") if API not in path.parents
]
PROTOS = sorted((ROOT / "proto" / "morningai").rglob("*.proto"))
FILES = ("__init__.py", "__main__.py", "app.py", "settings.py", "README.md")
PARTS = ("grpc_api", "repository", "domain")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "shared", "lib"}


def test_no_module_is_longer_than_two():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_every_module_is_named_after_what_it_holds():
    assert {str(path) for path in MODULES if path.stem in FORBIDDEN_NAMES} == set()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", FILES)
def test_a_service_has_the_files_that_every_service_has(service, name):
    assert (ROOT / "services" / service / name).is_file()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_a_module_or_a_folder_of_the_same_name(service, part):
    folder = ROOT / "services" / service
    assert (folder / f"{part}.py").is_file() != (folder / part / "__init__.py").is_file()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_migrations_and_named_sql(service):
    folder = ROOT / "services" / service
    assert list((folder / "migrations").glob("*.sql"))
    assert list(folder.glob("queries.sql")) or list(folder.glob("repository/*.sql"))


@pytest.mark.parametrize("service", [service for service in SERVICES if service != "tenancy"])
def test_a_service_that_hears_the_bus_has_handlers(service):
    assert (ROOT / "services" / service / "handlers.py").is_file()


def services_of(path):
    package = f"morningai.api.{path.parent.parent.name}.v1"
    return [
        (f"{package}.{path.stem}_pb2", f"{package}.{name}")
        for name in re.findall(r"^service (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


RPC_SERVICES = [found for path in PROTOS for found in services_of(path)]


@pytest.mark.parametrize(("module", "name"), RPC_SERVICES)
def test_every_method_declares_its_scope(module, name):
    importlib.import_module(module)
    assert len(rules_of(name)) == len(Default().FindServiceByName(name).methods) > 0


def test_there_are_services_to_look_at():
    assert len(RPC_SERVICES) >= 8
    assert len(MODULES) > 100


def test_sql_stands_in_repositories_and_the_kernel_alone():
    handling = [path for path in MODULES if path.stem in ("handlers", "grpc_api", "workflow", "nodes", "app")]
    found = {str(path) for path in handling if re.search(r'"(SELECT|INSERT|UPDATE|DELETE) ', path.read_text("utf-8"))}
    assert found == set()
