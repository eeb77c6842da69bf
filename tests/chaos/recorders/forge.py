"""A git remote for each tenant, which takes what is pushed; a hook of git's own writes down every change of a ref."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.evidence import GIT, REFS, Journal
from tests.e2e.repositories import git
from tests.git_server import ADDRESS, GitServer, serving_git

TOKEN = "forge-0123456789"
HOOK = """#!/bin/sh
while read -r old new ref; do
  printf '{"time":%s,"tenant":"%s","ref":"%s","old":"%s","new":"%s"}\\n' \\
    "$(date +%s.%N)" TENANT "$ref" "$old" "$new" >> JOURNAL
done
"""


@dataclass(frozen=True)
class Forge:
    repository: Path
    server: GitServer

    @property
    def uri(self) -> str:
        return f"https://{ADDRESS}:{self.server.port}/private"

    @property
    def token(self) -> str:
        return self.server.token


@dataclass(frozen=True)
class Forges:
    """By the tenant's slug."""

    folder: Path
    of: dict[str, Forge]

    @property
    def settings(self) -> dict[str, str]:
        """With which docs may reach them."""
        certificates = self.folder / "forges.pem"
        certificates.write_text("".join(forge.server.certificate_file.read_text() for forge in self.of.values()))
        return {"MORNINGAI_DOCS_EGRESS_ALLOWED": ADDRESS, "MORNINGAI_DOCS_CERTIFICATE_FILE": str(certificates)}

    def write_refs(self) -> None:
        """What git says is there, at the end."""
        journal = Journal(self.folder, REFS)
        for tenant, forge in self.of.items():
            for line in git(forge.repository, "for-each-ref", "--format=%(objectname) %(refname)").splitlines():
                commit, _, ref = line.partition(" ")
                parents, _, message = git(forge.repository, "log", "-1", "--format=%H %P%n%B", commit).partition("\n")
                line = {"tenant": tenant, "ref": ref, "commit": commit, "message": message}
                journal.append(line | {"parents": parents.split()[1:]})
        journal.close()


@contextmanager
def serving_forges(folder: Path, tenants: list[str]) -> Iterator[Forges]:
    Journal(folder, GIT).close()
    with ExitStack() as stack:
        yield Forges(folder, {tenant: stack.enter_context(_serving(folder, tenant)) for tenant in tenants})


@contextmanager
def _serving(folder: Path, tenant: str) -> Iterator[Forge]:
    place = folder / "forges" / tenant
    place.mkdir(parents=True)
    git(place, "init", "-q", "--bare", "-b", "main", "project.git")
    repository = place / "project.git"
    hook = repository / "hooks" / "post-receive"
    hook.write_text(HOOK.replace("TENANT", shlex.quote(tenant)).replace("JOURNAL", shlex.quote(str(folder / GIT))))
    hook.chmod(0o700)
    with serving_git(repository, place) as server:
        server.token = TOKEN
        yield Forge(repository, server)
