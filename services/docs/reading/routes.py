"""Routes of web programs that are not Python, by the call or attribute that declares them: `app.get("/orders", …)`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from services.docs.domain import FileFact
from services.docs.reading.quotes import fact_of

_ROUTE = re.compile(
    r"\b(?:app|api|router|server|r|mux|e|fastify|route[rs]?|group|v\d+|\w+(?:App|Api|Router|Group))\."
    r"(?:Map)?(get|post|put|patch|delete|Get|Post|Put|Patch|Delete|GET|POST|PUT|PATCH|DELETE)"
    r"\(\s*[\"'`](/[^\"'`\s]*)[\"'`]\s*,"
)
_HANDLE = re.compile(r"\b\w+\.Handle(?:Func)?\(\s*\"(?:([A-Z]+) )?(/[^\"\s]*)\"\s*,")
_ATTRIBUTE = re.compile(r"\s*\[Http(Get|Post|Put|Patch|Delete)\(\s*\"([^\"]+)\"")


def route_facts(lines: Sequence[str]) -> Iterator[FileFact]:
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith(("//", "*")):
            continue
        if match := _ROUTE.search(line) or _ATTRIBUTE.match(line):
            yield fact_of("route", f"{match[1].upper()} {match[2]}", lines, number, number)
        elif match := _HANDLE.search(line):
            yield fact_of("route", f"{match[1] or 'ANY'} {match[2]}", lines, number, number)
