"""Facts of files that are no programs: compose files, protobuf, SQL, Makefiles, pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from services.docs.domain import FileFact
from services.docs.reading.quotes import fact_of, with_comment_above

_RPC_SERVICE = re.compile(r"\s*service\s+(\w+)\s*\{")
_TABLE = re.compile(
    r"\s*CREATE\s+(?:UNLOGGED\s+|FOREIGN\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?((?:[\w\"]+\.)?[\w\"]+)", re.IGNORECASE
)
_TARGET = re.compile(r"([A-Za-z0-9][\w./-]*)\s*:(?![:=]).*?##\s*\S")
_KEY = re.compile(r"(\s*)([A-Za-z0-9_][\w.-]*|\"[^\"]+\"|'[^']+')\s*:(?:\s|\r?$)")
_TOML_TABLE = re.compile(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}")
_TOML_LIST = re.compile(r"\s*([\w\"-]+)\s*=\s*\[(.*)")
_REQUIREMENT = re.compile(r"""["']\s*([A-Za-z0-9][\w.-]*)[^"']*["']""")
_DEPENDENCY_TABLES = frozenset(("project.optional-dependencies", "dependency-groups"))


def rpc_service_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    for number, line in enumerate(lines, start=1):
        if match := _RPC_SERVICE.match(line):
            yield fact_of("rpc_service", match[1], lines, with_comment_above(lines, number, "//"), number)


def table_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    for number, line in enumerate(lines, start=1):
        if match := _TABLE.match(line):
            name = match[1].replace('"', "")
            yield fact_of("table", name, lines, with_comment_above(lines, number, "--"), number)


def command_facts_of_makefile(lines: Sequence[str]) -> Iterator[FileFact]:
    """Targets with a `## help` comment."""
    for number, line in enumerate(lines, start=1):
        if match := _TARGET.match(line):
            yield fact_of("command", f"make {match[1]}", lines, number, number)


def compose_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    """The keys under the top-level `services`; the quote reaches to the image or build line where it is near."""
    in_services, service_indent = False, 0
    for number, line in enumerate(lines, start=1):
        match = _KEY.match(line)
        if match is None or not line.strip():
            continue
        indent = len(match[1])
        if indent == 0:
            in_services, service_indent = match[2] == "services", 0
        elif in_services and indent == (service_indent := service_indent or indent):
            yield fact_of("compose_service", match[2].strip("\"'"), lines, number, _image_line(lines, number, indent))


def _image_line(lines: Sequence[str], number: int, service_indent: int) -> int:
    for following in range(number + 1, min(number + 4, len(lines)) + 1):
        match = _KEY.match(lines[following - 1])
        if match is not None and len(match[1]) <= service_indent:
            return number
        if match is not None and match[2] in {"image", "build"}:
            return following
    return number


def dependency_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    """Requirements in `project.dependencies`, its extras and the dependency groups."""
    table, in_list = "", False
    for number, line in enumerate(lines, start=1):
        content = line.split("#", 1)[0]
        if not in_list and (heading := _TOML_TABLE.match(content)):
            table = heading[1]
            continue
        if not in_list and (opening := _TOML_LIST.match(content)):
            in_list, content = _holds_requirements(table, opening[1]), opening[2]
        if in_list:
            yield from (
                fact_of("dependency", match[1], lines, number, number) for match in _REQUIREMENT.finditer(content)
            )
            in_list = "]" not in _REQUIREMENT.sub("", content)


def _holds_requirements(table: str, key: str) -> bool:
    return table in _DEPENDENCY_TABLES or (table == "project" and key == "dependencies")
