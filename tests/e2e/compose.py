"""The system in containers, from the outside: `make compose-test` builds and starts compose.yaml and asks a question.

Not collected by `pytest` alone, because it needs a Docker engine and minutes. COMPOSE says how Compose is called.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest

ROOT = Path(__file__).parents[2]
COMPOSE = shlex.split(os.environ.get("COMPOSE") or "docker compose")
SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
UP_SECONDS = 1200
CONTENT = {
    "README.md": "# Kiosk\n\nThe till service stores every sale in the ledger table of PostgreSQL.\n",
    "till.py": '"""Sells things."""\n\n\ndef total(prices: list[int]) -> int:\n    return sum(prices)\n',
}
PROBE_SANDBOX = """
import asyncio, os, pathlib
from services.codegen.sandbox import Sandbox
folder = pathlib.Path(os.environ["MORNINGAI_WORK_DIR"]) / "trial"
print(asyncio.run(Sandbox.probe(folder)).describe())
"""

pytestmark = pytest.mark.timeout(UP_SECONDS)


@dataclass(frozen=True)
class Stack:
    """One project of its own, on a free port of loopback."""

    project: str = field(default_factory=lambda: f"morningai-test-{uuid4().hex[:8]}")

    def compose(self, *arguments: str, check: bool = True) -> str:
        command = [*COMPOSE, "--project-name", self.project, "--progress", "quiet", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout.strip()

    def up(self) -> None:
        self.compose("up", "--build", "--wait", "--wait-timeout", "300")

    def containers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]

    def secret(self, path: str) -> str:
        return self.compose("run", "--rm", "--no-deps", "-T", "secrets", "cat", f"/secrets/{path}")

    def inspect(self, service: str) -> str:
        container = self.compose("ps", "--all", "--quiet", service)
        return subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True).stdout

    def network(self, name: str) -> dict[str, Any]:
        command = ["docker", "network", "inspect", f"{self.project}_{name}"]
        (found,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return dict(found)

    def print_logs(self, *, of_all: bool) -> None:
        for container in self.containers():
            if of_all or container["Health"] == "unhealthy" or container["ExitCode"] != 0:
                print(f"--- {container['Service']}: {container['Status']}")
                print(self.compose("logs", "--no-log-prefix", "--tail", "60", container["Service"], check=False))

    def _environment(self) -> dict[str, str]:
        """Without an endpoint of the caller's: the extractive engine answers the same everywhere."""
        without = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "MORNINGAI_"))}
        return {
            **without,
            "MORNINGAI_IMAGE": "morningai-test",
            "MORNINGAI_BIND": "127.0.0.1:0",
            "MORNINGAI_BUS_BIND": "127.0.0.1:0",
        }


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    stack = Stack()
    try:
        try:
            stack.up()
        except AssertionError:
            stack.print_logs(of_all=False)
            raise
        yield stack
        if request.session.testsfailed:
            stack.print_logs(of_all=True)
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)


@dataclass(frozen=True)
class Cli:
    environment: Mapping[str, str]

    def __call__(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "morningai.cli", *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}{done.stdout}"
        result: dict[str, Any] = json.loads(done.stdout)
        return result


@pytest.fixture(scope="module")
def cli(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The CLI with the key of a new tenant."""
    home = str(tmp_path_factory.mktemp("home"))
    address = stack.compose("port", "gateway", "50051")
    environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "MORNINGAI_ADDRESS": address}
    operator = Cli({**environment, "MORNINGAI_OPERATOR_KEY": stack.secret("migrate/morningai_operator_key")})
    tenant = operator("tenant", "create", "kiosk", "--no-store")
    own = {
        "MORNINGAI_API_KEY": tenant["api_key"],
        "TENANT_ID": tenant["tenant"]["name"].removeprefix("tenants/"),
    }
    return Cli({**environment, **own})


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kiosk")
    for name, text in CONTENT.items():
        (folder / name).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    return folder


@pytest.fixture(scope="module")
def answered(cli: Cli, repository: Path) -> dict[str, Any]:
    cli("source", "add", "kiosk", str(repository))
    return cli("ask", "Where does the till service store every sale?", "--source", "kiosk")


def test_a_question_is_answered_with_citations_that_git_resolves(answered: dict[str, Any], repository: Path) -> None:
    assert answered["task"]["state"] == "TASK_STATE_SUCCEEDED"
    evidence = [one for claim in answered["answer"]["claims"] for one in claim["evidence"]]
    assert any("ledger table" in one["quote"] for one in evidence)
    assert [quoted_by_git(repository, one) for one in evidence] == [one["quote"] for one in evidence]


def quoted_by_git(repository: Path, evidence: dict[str, Any]) -> str:
    """The quote if the cited lines of the cited commit hold it, else those lines."""
    text = git(repository, "show", f"{evidence['commit']}:{evidence['path']}")
    lines = "\n".join(text.split("\n")[evidence["start_line"] - 1 : evidence["end_line"]])
    return str(evidence["quote"]) if evidence["quote"] in lines else lines


def test_a_change_without_a_model_is_refused_with_a_remedy(cli: Cli, answered: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="model_unavailable"):
        cli("change", "Make the total of nothing zero", "--source", "kiosk")


def test_a_subscriber_hears_how_the_task_went(stack: Stack, cli: Cli, answered: dict[str, Any]) -> None:
    assert asyncio.run(replayed_until_success(stack.compose("port", "nats", "4222"), cli.environment)) >= {
        "TaskStarted",
        "SourceIndexed",
        "AnswerGenerated",
    }


async def replayed_until_success(address: str, environment: Mapping[str, str]) -> set[str]:
    tenant, key = environment["TENANT_ID"], environment["MORNINGAI_API_KEY"]
    client = await nats.connect(f"nats://{address}", token=key)
    replay = await client.subscribe(f"morningai.replay.{tenant}.{key.partition('.')[0]}")
    heard = {""}
    while "TaskSucceeded" not in heard:
        event = await replay.next_msg(timeout=10)
        heard.add(event.headers["ce-type"].rpartition(".")[2])
        assert "ce-seal" not in event.headers
        await event.ack()
    await client.close()
    return heard


def test_a_later_start_finds_everything_again(stack: Stack, cli: Cli, answered: dict[str, Any]) -> None:
    operator_key = stack.secret("migrate/morningai_operator_key")
    stack.compose("down", "--timeout", "5")
    stack.up()
    cli.environment["MORNINGAI_ADDRESS"] = stack.compose("port", "gateway", "50051")  # type: ignore[index]
    assert stack.secret("migrate/morningai_operator_key") == operator_key
    assert cli("task", "show", answered["task"]["name"])["state"] == "TASK_STATE_SUCCEEDED"


def test_only_the_gateway_and_the_bus_are_published(stack: Stack) -> None:
    published = {
        (container["Service"], port["URL"])
        for container in stack.containers()
        for port in container["Publishers"] or ()
        if port["PublishedPort"]
    }
    assert published == {("gateway", "127.0.0.1"), ("nats", "127.0.0.1")}


@pytest.mark.parametrize("service", [*SERVICES, "postgres", "nats", "migrate", "secrets"])
def test_docker_inspect_tells_no_secret(stack: Stack, service: str) -> None:
    secrets = stack.compose(
        "run",
        "--rm",
        "--no-deps",
        "-T",
        "secrets",
        "sh",
        "-c",
        "cat /secrets/*/*password /secrets/*/*secret /secrets/*/*secret_keys /secrets/migrate/*key",
    )
    told = stack.inspect(service)
    assert len(secrets.splitlines()) == 26
    assert [secret for secret in secrets.splitlines() if secret in told] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_its_own_secrets_alone(stack: Stack, service: str) -> None:
    readable = stack.compose(
        "exec", "-T", service, "sh", "-c", "cd /secrets; for f in *; do ls $f >&2 && echo $f; done; true"
    )
    assert readable == service


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_rights_beyond_an_ordinary_user(stack: Stack, service: str) -> None:
    status = stack.compose("exec", "-T", service, "cat", "/proc/self/status")
    assert re.search(r"^Uid:\s+[1-9]", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)


def test_the_sandbox_starts_where_generated_code_runs(stack: Stack) -> None:
    assert "bubblewrap" in stack.compose("exec", "-T", "codegen", "python", "-c", PROBE_SANDBOX)


def test_no_other_service_can_make_a_sandbox(stack: Stack) -> None:
    with pytest.raises(AssertionError, match="The sandbox cannot be built"):
        stack.compose("exec", "-T", "docs", "python", "-c", PROBE_SANDBOX)


@pytest.mark.parametrize("service", ["orchestrator", "tenancy", "postgres"])
def test_what_needs_no_way_out_has_none(stack: Stack, service: str) -> None:
    networks = json.loads(stack.inspect(service))[0]["NetworkSettings"]["Networks"]
    assert list(networks) == [f"{stack.project}_inside"]


def test_the_bus_is_published_and_has_no_way_out(stack: Stack) -> None:
    networks = json.loads(stack.inspect("nats"))[0]["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{stack.project}_inside", f"{stack.project}_door"}
    door = stack.network("door")
    assert door["Options"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
