"""Facts of what is built apart from Python: projects of .NET, packages of npm, Cargo and Go, and what they run on.

A project that is a program by its manifest is a service; everything else that is built is a module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from services.docs.domain import FactKind, FileFact
from services.docs.reading.quotes import fact_of, with_comment_above

LONGEST_MANIFEST_HEAD = 12
_DOTNET_PROJECT = re.compile(r"<Project\b[^>]*>")
_DOTNET_SERVICE = re.compile(r'Sdk="Microsoft\.NET\.Sdk\.(?:Web|Worker|Function)"')
_DOTNET_TEST = re.compile(r"<IsTestProject>\s*true|Microsoft\.NET\.Test\.Sdk|MSTest\.Sdk|\bxunit\b", re.IGNORECASE)
_ASPIRE_RESOURCE = re.compile(r"\.Add[A-Z]\w*\(\s*\"([\w-]+)\"")
_ASPIRE_PROJECT = re.compile(r"\.Add(?:Project|Executable|Database|Parameter|ConnectionString)\b")
_JSON_TEXT = r'^\s{0,4}"%s"\s*:\s*"([^"]+)"'
_GO_PACKAGE = re.compile(r"package\s+(\w+)\s*(?://.*)?$")


def dotnet_project_facts(path: str, lines: Sequence[str]) -> Iterator[FileFact]:
    if _DOTNET_TEST.search("\n".join(lines)):
        return
    for number, line in enumerate(lines, start=1):
        if match := _DOTNET_PROJECT.search(line):
            kind: FactKind = "service" if _DOTNET_SERVICE.search(match[0]) else "module"
            yield fact_of(kind, PurePosixPath(path).stem, lines, number, number)
            return


def aspire_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    """What a .NET Aspire host runs beside its projects: `builder.AddRedis("cache")`."""
    if not any("DistributedApplication.CreateBuilder" in line for line in lines):
        return
    for number, line in enumerate(lines, start=1):
        match = _ASPIRE_RESOURCE.search(line)
        if match and not _ASPIRE_PROJECT.search(line):
            yield fact_of("compose_service", match[1], lines, number, number)


def npm_package_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    yield from _named_package(lines, re.compile(_JSON_TEXT % "name"), re.compile(_JSON_TEXT % "description"))


def cargo_package_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    if any(line.strip() == "[package]" for line in lines):
        name, description = (re.compile(rf'{key}\s*=\s*"([^"]+)"') for key in ("name", "description"))
        yield from _named_package(lines, name, description)


def _named_package(lines: Sequence[str], name: re.Pattern[str], description: re.Pattern[str]) -> Iterator[FileFact]:
    """The first name; the quote reaches to the description where it is near."""
    for number, line in enumerate(lines, start=1):
        if match := name.match(line):
            head = range(number, min(number + LONGEST_MANIFEST_HEAD, len(lines)) + 1)
            end_line = next((other for other in head if description.match(lines[other - 1])), number)
            yield fact_of("module", match[1], lines, number, end_line)
            return


def go_package_facts(path: str, lines: Sequence[str]) -> Iterator[FileFact]:
    """The package clause with the comment above it; `main` is a service that is called by its folder."""
    folder = PurePosixPath(path).parent
    for number, line in enumerate(lines, start=1):
        if match := _GO_PACKAGE.match(line):
            kind: FactKind = "service" if match[1] == "main" else "module"
            name = match[1] if folder.name == "" else str(folder)
            if not path.endswith("_test.go") and (kind == "module" or folder.name):
                yield fact_of(kind, name, lines, with_comment_above(lines, number, "//"), number)
            return
