"""The named parts of a repository, read from its facts: services, infrastructure, packages, tables, routes and RPCs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from morningai.evidence.model import Evidence, Fact, FactKind, Passage
from morningai.evidence.paths import is_manifest, is_prominent, path_prior

Topic = Literal["Overview", "Services", "Infrastructure", "Packages", "Tables", "Routes", "RPC services"]

MOST_PACKAGES = 12
_SIDE_SHOW = 0.8
_SERVICE_FOLDERS = frozenset({"services", "service", "microservices", "apps"})
_ENTRY_FILES = ("/__main__.py", "/main.go")
_PROJECT_FILES = (".csproj", ".fsproj", ".vbproj", ".json", ".toml", ".go")
_ENOUGH_PROJECTS = 4
_CODE_SUFFIXES = (".py", ".js", ".ts", ".tsx", ".go", ".rs", ".rb", ".java", ".kt", ".php", ".cs", ".ex", ".swift")
_INFRASTRUCTURE = {
    "NATS": ("nats", "nats jetstream", "jetstream"),
    "PostgreSQL": ("postgresql", "postgres"),
    "Redis": ("redis", "valkey"),
    "MySQL": ("mysql", "mariadb"),
    "MongoDB": ("mongodb", "mongo"),
    "RabbitMQ": ("rabbitmq",),
    "Kafka": ("kafka", "redpanda"),
    "Elasticsearch": ("elasticsearch", "opensearch"),
    "Memcached": ("memcached",),
    "nginx": ("nginx",),
    "Traefik": ("traefik",),
    "Caddy": ("caddy",),
    "Celery": ("celery",),
    "MinIO": ("minio",),
    "Vault": ("hashicorp/vault",),
    "ClickHouse": ("clickhouse",),
    "Cassandra": ("cassandra",),
    "SQLite": ("sqlite",),
    "Prometheus": ("prometheus",),
    "Grafana": ("grafana",),
    "LangGraph": ("langgraph",),
}
_ALWAYS_PARTS = frozenset({"NATS", "PostgreSQL", "Redis", "MySQL", "MongoDB", "RabbitMQ", "Kafka", "Elasticsearch"})
_OUTSIDE = frozenset(
    {
        "tests",
        "test",
        "docs",
        "doc",
        "examples",
        "example",
        "benchmarks",
        "scripts",
        "tools",
        "conftest",
        "setup",
        "testing",
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """A named part with the facts that declare it; `aliases` are other spellings it is mentioned by."""

    name: str
    topic: Topic
    facts: tuple[Fact, ...]
    aliases: tuple[str, ...]

    def mention(self) -> re.Pattern[str]:
        names = "|".join(re.escape(alias) for alias in sorted(self.aliases, key=len, reverse=True))
        if self.topic == "Tables":
            return re.compile(rf"`(?:{names})`|\b(?:{names})`? tables?\b|\btables? `?(?:{names})\b", re.IGNORECASE)
        flags = re.NOFLAG if self.topic == "Packages" else re.IGNORECASE
        return re.compile(rf"(?<![\w/.@-])(?:{names})(?![\w/@-]|\.\w)", flags)


def fact_evidence(fact: Fact) -> Evidence:
    return Evidence(fact.path, fact.commit, fact.blob_hash, fact.start_line, fact.end_line, fact.quote)


def find_parts(passages: Sequence[Passage], facts: Sequence[Fact]) -> tuple[Part, ...]:
    """Every named part, services first; a compose service of the same name is the same part."""
    facts = [fact for fact in facts if path_prior(fact.path) > _SIDE_SHOW]
    services = _services([*facts, *_service_folders(passages, facts)])
    modules = _modules(facts)
    if not services and len(_projects(modules)) < _ENOUGH_PROJECTS:
        modules.extend(_code_files(passages))
    named = {part.name.lower() for part in services}
    packages = _packages(modules, facts, has_services=bool(services))
    return (
        *services,
        *_infrastructure(passages, facts),
        *(part for part in packages if part.name.lower() not in named),
        *_simple("table", "Tables", facts),
        *_simple("route", "Routes", facts),
        *_simple("rpc_service", "RPC services", facts),
    )


def _service_folders(passages: Sequence[Passage], facts: Sequence[Fact]) -> list[Fact]:
    """Folders below `services/` and its like, whatever language they are in, that no fact names."""
    named = {_service_name(fact) for fact in facts if fact.kind == "service"}
    found: dict[str, Passage] = {}
    for passage in passages:
        folders = passage.path.split("/")
        if len(folders) >= 3 and folders[0] in _SERVICE_FOLDERS and folders[1] not in named:
            found.setdefault(folders[1], passage)
    return [_folder_fact(name, passage) for name, passage in found.items() if not name.startswith(("_", "."))]


def _folder_fact(name: str, passage: Passage) -> Fact:
    line = next(number for number, text in enumerate(passage.text.split("\n")) if text.strip())
    number = passage.start_line + line
    quote = passage.text.split("\n")[line]
    return Fact("service", name, passage.path, passage.commit, passage.blob_hash, number, number, quote)


def _service_name(fact: Fact) -> str:
    """The last folder, or the last name of a Python package; the dots of a project of .NET are its own."""
    return re.split(r"/" if fact.path.endswith(_PROJECT_FILES) else r"[/.]", fact.name.strip("/"))[-1]


def _services(facts: Sequence[Fact]) -> tuple[Part, ...]:
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.kind == "compose_service" or (fact.kind == "service" and _is_service(fact, facts)):
            name = _service_name(fact) if fact.kind == "service" else fact.name
            groups.setdefault(name, []).append(fact)
    return tuple(
        Part(name=name, topic="Services", facts=tuple(declared), aliases=(name,))
        for name, declared in sorted(groups.items())
        if any(fact.kind == "service" for fact in declared) or not _known_infrastructure(declared)
    )


def _is_service(fact: Fact, facts: Sequence[Fact]) -> bool:
    """A runnable package is a service in a folder for services, beside another one, or when it bears a plain name.

    A library that can be started with `python -m` is no service: its only runnable package is its own.
    """
    folders = fact.path.split("/")[:-1]
    if _SERVICE_FOLDERS.intersection(folders) or not f"/{fact.path}".endswith(_ENTRY_FILES):
        return not fact.path.endswith(".go") or f"/{fact.path}".endswith(_ENTRY_FILES)
    parent = folders[:-1]
    siblings = {other.name for other in facts if other.kind == "service" and other.path.split("/")[:-2] == parent}
    return len(parent) > 0 and parent != ["src"] and len(siblings) > 1


def _modules(facts: Sequence[Fact]) -> list[Fact]:
    runnable = [fact for fact in facts if fact.kind == "service" and not _is_service(fact, facts)]
    return [*(fact for fact in facts if fact.kind == "module"), *runnable]


def _code_files(passages: Sequence[Passage]) -> list[Fact]:
    """Modules known from their files alone; without a quote, so that only a definition can name them."""
    firsts = {
        passage.path: passage
        for passage in passages
        if passage.path.endswith(_CODE_SUFFIXES) and path_prior(passage.path) > _SIDE_SHOW
    }
    return [
        Fact("module", path, path, passage.commit, passage.blob_hash, passage.start_line, passage.start_line, "")
        for path, passage in sorted(firsts.items())
    ]


def _known_infrastructure(declared: Sequence[Fact]) -> str:
    for fact in declared:
        image = re.search(r"image:\s*[\"']?([\w./-]+)", fact.quote)
        added = re.search(r"\.Add(\w+)\(", fact.quote)
        text = f"{fact.name} {image.group(1) if image else ''} {added.group(1) if added else ''}".lower()
        for label, words in _INFRASTRUCTURE.items():
            if any(re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text) for word in words):
                return label
    return ""


def _infrastructure(passages: Sequence[Passage], facts: Sequence[Fact]) -> tuple[Part, ...]:
    declared: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.kind == "compose_service" and (label := _known_infrastructure([fact])):
            declared.setdefault(label, []).append(fact)
    prominent = "\n".join(passage.text for passage in passages if is_prominent(passage.path)).lower()
    architecture = "\n".join(
        passage.text.lower()
        for passage in passages
        if is_prominent(passage.path) and "architecture" in passage.path.lower()
    )
    needed = [fact.name for fact in facts if fact.kind == "dependency"]
    manifests = "\n".join([*needed, *(passage.text for passage in passages if is_manifest(passage.path))]).lower()
    parts = []
    for label, words in _INFRASTRUCTURE.items():
        mentions = sum(len(re.findall(rf"(?<![a-z]){re.escape(word)}(?![a-z])", prominent)) for word in words)
        required = any(re.search(rf"(?<![a-z]){re.escape(word)}", manifests) for word in words)
        told = mentions >= 2 and (required or not manifests.strip())
        stands_out = label in _ALWAYS_PARTS and (told or any(word in architecture for word in words))
        if label in declared or stands_out or (mentions and required):
            found = tuple(declared.get(label, ()))
            names = dict.fromkeys([label.lower(), *words, *(fact.name for fact in found)])
            parts.append(Part(name=label, topic="Infrastructure", facts=found, aliases=tuple(names)))
    return tuple(parts)


def is_project(fact: Fact) -> bool:
    """Whether a manifest or a package clause declares it, and not its file alone."""
    return bool(fact.quote) and fact.path.endswith(_PROJECT_FILES)


def _projects(modules: Sequence[Fact]) -> set[str]:
    """The names of the projects below the root."""
    return {fact.name for fact in modules if is_project(fact) and "/" in fact.path}


def module_name(fact: Fact) -> str:
    """`src/flask/app.py`, `flask/app` and `flask.app` are one module: `flask.app`; a project keeps its name."""
    if is_project(fact):
        return fact.name
    name = re.sub(r"\.(?:pyi?|[jt]sx?|go|rs|rb)$", "", fact.name.strip("/")).replace("/", ".")
    return re.sub(r"^(?:src|lib)\.|\.(?:__init__|__main__|index|mod)$", "", name)


def _packages(declared: Sequence[Fact], facts: Sequence[Fact], *, has_services: bool) -> tuple[Part, ...]:
    modules: dict[str, list[Fact]] = {}
    for fact in declared:
        modules.setdefault(module_name(fact), []).append(fact)
    inside = {
        name: found
        for name, found in modules.items()
        if name and not any(piece in _OUTSIDE or piece.startswith(("_", "test_")) for piece in re.split(r"[/.]", name))
    }
    projects = sorted(_projects(declared) & inside.keys())
    imports = Counter(fact.name for fact in facts if fact.kind == "import")
    tops = sorted({name.split(".")[0] for name in inside.keys() - set(projects)})
    chosen = (
        [top for top in tops if top in inside]
        if has_services or len(tops) > MOST_PACKAGES
        else [name for name in _two_levels(inside, imports) if name not in projects]
    )
    chosen = [*projects, *chosen]
    if has_services:
        chosen = [name for name in chosen if name not in {"services", "apps", "packages", "cmd"}]
    return tuple(
        Part(name=name, topic="Packages", facts=tuple(inside[name]), aliases=(name,)) for name in chosen[:MOST_PACKAGES]
    )


def _two_levels(inside: dict[str, list[Fact]], imports: Counter[str]) -> list[str]:
    near = [name for name in inside if name.count(".") <= 1]
    near.sort(key=lambda name: (name.count("."), -_imported(name, imports), name))
    return near


def _imported(name: str, imports: Counter[str]) -> int:
    tail = name.rsplit(".", 1)[-1]
    return sum(
        count
        for target, count in imports.items()
        if target.strip(".") == name or target.lstrip(".").split(".")[-1] == tail
    )


def _simple(kind: FactKind, topic: Topic, facts: Sequence[Fact]) -> tuple[Part, ...]:
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.kind == kind:
            groups.setdefault(fact.name, []).append(fact)
    return tuple(
        Part(name=name, topic=topic, facts=tuple(declared), aliases=(name,))
        for name, declared in sorted(groups.items())
    )
