"""Facts: the named parts that a file declares, each with the lines that declare it.

Invariant: a fact's quote is the lines start_line..end_line verbatim; nothing is inferred from names alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from services.docs.domain import FileFact
from services.docs.reading.files import language_of, lines_of
from services.docs.reading.manifests import (
    command_facts_of_makefile,
    compose_facts,
    dependency_facts,
    rpc_service_facts,
    table_facts,
)
from services.docs.reading.projects import (
    aspire_facts,
    cargo_package_facts,
    dotnet_project_facts,
    go_package_facts,
    npm_package_facts,
)
from services.docs.reading.prose import Heading, markdown_headings, rst_headings
from services.docs.reading.python_facts import python_facts
from services.docs.reading.quotes import fact_of
from services.docs.reading.routes import route_facts

DEEPEST_HEADING = 3
_COMPOSE_NAME = re.compile(r"(?:docker-)?compose(?:[.-](?!tests?\b)[\w-]+)?\.ya?ml")
_DOTNET_ENDINGS = (".csproj", ".fsproj", ".vbproj")
_TEST_PATH = re.compile(r"(?:^|/)(?:tests?|testing|__tests__)/|(?:^|/)(?:test_[^/]*|conftest|[^/]*_test)\.\w+$")


def extract_facts(path: str, text: str) -> list[FileFact]:
    """The facts of a decoded file, in order; a test declares nothing."""
    if _TEST_PATH.search(path):
        return []
    return sorted(_facts(path, lines_of(text)), key=lambda fact: (fact.start_line, fact.kind, fact.name))


def _facts(path: str, lines: Sequence[str]) -> Iterator[FileFact]:
    name = PurePosixPath(path).name.lower()
    match language_of(path):
        case "python":
            yield from python_facts(path, lines)
        case "markdown":
            yield from _heading_facts(markdown_headings(lines), lines)
        case "rst":
            yield from _heading_facts(rst_headings(lines), lines)
        case "proto":
            yield from rpc_service_facts(lines)
        case "sql":
            yield from table_facts(lines)
        case "make":
            yield from command_facts_of_makefile(lines)
        case "yaml" if _COMPOSE_NAME.fullmatch(name):
            yield from compose_facts(lines)
        case "toml" if name == "pyproject.toml":
            yield from dependency_facts(lines)
        case "toml" if name == "cargo.toml":
            yield from cargo_package_facts(lines)
        case "json" if name == "package.json":
            yield from npm_package_facts(lines)
        case "go":
            yield from go_package_facts(path, lines)
            yield from route_facts(lines)
        case "csharp":
            yield from aspire_facts(lines)
            yield from route_facts(lines)
        case "javascript" | "typescript":
            yield from route_facts(lines)
        case _ if name.endswith(_DOTNET_ENDINGS):
            yield from dotnet_project_facts(path, lines)
        case _:
            return


def _heading_facts(headings: Sequence[Heading], lines: Sequence[str]) -> Iterator[FileFact]:
    for heading in headings:
        if heading.level <= DEEPEST_HEADING and heading.title:
            yield fact_of("heading", heading.title, lines, heading.start_line, heading.end_line)
