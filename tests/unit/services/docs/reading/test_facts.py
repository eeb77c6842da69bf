from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.docs.reading.facts import extract_facts
from services.docs.reading.files import lines_of

ROUTES = """@app.get("/items/{id}")
async def get_item(id):
    ...

@bp.route("/login", methods=("GET", "POST"))
@public
def login():
    ...

@cache.get("key")
def other():
    ...

@cli.command()
def show_all_():
    ...

@cli.command("list")
def list_items():
    ...

parsers.add_parser("serve", help="Serves.")
"""

COMPOSE = """# services:
x-base: &base
  restart: always

services:
  db:
    image: postgres:18
    environment:
      image: no
  "web-app":
    <<: *base
    build: .

  worker:
    depends_on:
      db:
        condition: service_healthy

volumes:
  data: {}
"""

PYPROJECT = """[project]
name = "x"
dependencies = [
  "grpcio==1.85.1",  # why
  "faststream[nats]>=0.7",
]
classifiers = ["Programming Language :: Python"]

[project.optional-dependencies]
dev = ["pytest", 'ruff>=1']

[tool.ruff]
select = ["E"]
"""


def facts(path: str, text: str) -> list[tuple[str, str, str]]:
    return [(fact.kind, fact.name, fact.quote) for fact in extract_facts(path, text)]


def test_a_package_that_runs_is_a_service() -> None:
    assert facts("services/docs/__main__.py", '"""Runs docs."""\n\nmain()\n') == [
        ("service", "services.docs", '"""Runs docs."""')
    ]


def test_a_service_without_a_docstring_is_quoted_by_its_first_statement() -> None:
    assert facts("src/flask/__main__.py", "# comment\nfrom .cli import main\n\nmain()\n") == [
        ("service", "flask", "from .cli import main")
    ]


def test_a_package_is_a_module_with_its_docstrings_first_paragraph() -> None:
    text = '"""Search and\nsources.\n\nMore.\n"""\n'
    assert facts("a/b/__init__.py", text) == [("module", "a.b", '"""Search and\nsources.')]


@pytest.mark.parametrize("text", ["", "import os\n", "def broken(:\n"])
def test_a_package_without_a_docstring_declares_nothing(text: str) -> None:
    assert facts("a/__init__.py", text) == []


def test_routes_and_commands_are_found_in_python() -> None:
    assert [(kind, name) for kind, name, _ in facts("app.py", ROUTES)] == [
        ("route", "GET /items/{id}"),
        ("route", "GET /login"),
        ("route", "POST /login"),
        ("command", "show-all"),
        ("command", "list"),
        ("command", "serve"),
    ]


def test_a_route_is_quoted_with_its_function() -> None:
    assert facts("app.py", ROUTES)[1][2] == '@bp.route("/login", methods=("GET", "POST"))\n@public\ndef login():'


@pytest.mark.parametrize("path", ["tests/app.py", "src/test_app.py", "app_test.py", "a/conftest.py"])
def test_a_test_declares_nothing(path: str) -> None:
    assert facts(path, ROUTES) == []


def test_compose_services_are_found_with_their_image() -> None:
    assert facts("compose.yaml", COMPOSE) == [
        ("compose_service", "db", "  db:\n    image: postgres:18"),
        ("compose_service", "web-app", '  "web-app":\n    <<: *base\n    build: .'),
        ("compose_service", "worker", "  worker:"),
    ]


def test_another_yaml_file_declares_no_services() -> None:
    assert facts("config.yaml", COMPOSE) == []


def test_rpc_services_are_found_with_the_comment_above() -> None:
    text = "// Requests.\n// And results.\nservice TaskService {\n  rpc Get(A) returns (B);\n}\n// service No {\n"
    assert facts("a.proto", text) == [
        ("rpc_service", "TaskService", "// Requests.\n// And results.\nservice TaskService {")
    ]


def test_tables_are_found() -> None:
    text = '-- Kept.\ncreate table if not exists docs."chunks" (\n  x int);\nCREATE TABLE plain(x int);\nSELECT 1;\n'
    assert [(kind, name) for kind, name, _ in facts("a.sql", text)] == [("table", "docs.chunks"), ("table", "plain")]


def test_make_targets_with_help_are_commands() -> None:
    text = "test: deps ## Run the tests\n\tpytest\nhidden:\n\tx\nX := 1 ## no\n"
    assert facts("Makefile", text) == [("command", "make test", "test: deps ## Run the tests")]


def test_dependencies_are_found_in_the_project_file() -> None:
    assert [name for kind, name, _ in facts("pyproject.toml", PYPROJECT) if kind == "dependency"] == [
        "grpcio",
        "faststream",
        "pytest",
        "ruff",
    ]


def test_headings_to_the_third_level_are_facts() -> None:
    text = "# [One](https://x) `a`\n\n#### Four\n\nTwo\n---\n"
    assert facts("a.md", text) == [("heading", "One a", "# [One](https://x) `a`"), ("heading", "Two", "Two\n---")]


LINES = st.lists(
    st.sampled_from(
        ["", "# H", "Title", "---", '"""Doc', '"""', '@app.get("/x")', "def f():", "    pass", "services:", "  db:",
         "    image: x", "service A {", "// c", "CREATE TABLE t (", "-- c", "run: ## help", "[project]",
         "dependencies = [", '  "a>=1",', "]", "x\r"]
    ),
    max_size=60,
)  # fmt: skip
NAMES = st.sampled_from(["a/__main__.py", "a/__init__.py", "a.py", "a.md", "a.rst", "compose.yaml", "a.proto", "a.sql",
                         "Makefile", "pyproject.toml"])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(NAMES, LINES)
def test_a_quote_is_the_lines_it_names(path: str, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    found = extract_facts(path, text)
    all_lines = lines_of(text)
    assert [fact.quote for fact in found] == ["\n".join(all_lines[f.start_line - 1 : f.end_line]) for f in found]
    assert all(fact.quote.strip() and fact.name for fact in found)


ASPIRE = """var builder = DistributedApplication.CreateBuilder(args);
var cache = builder.AddRedis("cache");
var database = builder.AddPostgres("postgres").AddDatabase("orders");
builder.AddProject<Projects.Shop>("shop");
"""


@pytest.mark.parametrize(
    ("path", "text", "facts"),
    [
        ("src/A.Api/A.Api.csproj", '\ufeff<Project Sdk="Microsoft.NET.Sdk.Web">', [("service", "A.Api", 1)]),
        ("src/A.Core/A.Core.csproj", '<?xml?>\n<Project Sdk="Microsoft.NET.Sdk">', [("module", "A.Core", 2)]),
        ("src/A.Checks/A.Checks.csproj", '<Project Sdk="MSTest.Sdk">', []),
        ("src/Host/Program.cs", ASPIRE, [("compose_service", "cache", 2)]),
        ("web/package.json", '{\n  "name": "web",\n  "files": [{"name": "x"}]\n}', [("module", "web", 2)]),
        ("core/Cargo.toml", '[package]\nname = "core"\n[dependencies]\n', [("module", "core", 2)]),
        ("Cargo.toml", "[workspace]\nmembers = []\n", []),
        ("store/store.go", "// Package store keeps rows.\npackage store\n", [("module", "store", 1)]),
        ("cmd/api/main.go", "package main\n", [("service", "cmd/api", 1)]),
        ("main.go", "package main\n", []),
        ("compose.test.yaml", "services:\n  sut:\n    build: .\n", []),
    ],
)
def test_what_is_built_apart_is_declared_by_its_manifest(
    path: str, text: str, facts: list[tuple[str, str, int]]
) -> None:
    assert [(fact.kind, fact.name, fact.start_line) for fact in extract_facts(path, text)] == facts


@pytest.mark.parametrize(
    ("path", "line", "route"),
    [
        ("server.js", "app.get('/orders/:id', show)", "GET /orders/:id"),
        ("server.ts", "router.post(`/orders`, create);", "POST /orders"),
        ("Api.cs", '    api.MapPut("/ship", ShipAsync);', "PUT /ship"),
        ("Api.cs", '    [HttpGet("items/{id}")]', "GET items/{id}"),
        ("http.go", 'mux.HandleFunc("GET /health", health)', "GET /health"),
        ("http.go", 'r.Post("/orders", create)', "POST /orders"),
    ],
)
def test_routes_are_found_by_the_call_that_declares_them(path: str, line: str, route: str) -> None:
    assert [fact.name for fact in extract_facts(path, line) if fact.kind == "route"] == [route]


@pytest.mark.parametrize("line", ["// app.get('/orders', show)", "cache.get('/orders', show)", "app.get('env')"])
def test_what_only_looks_like_a_route_is_none(line: str) -> None:
    assert extract_facts("server.js", line) == []
