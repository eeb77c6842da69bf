from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = (
    "",
    "up",
    "source",
    "source add",
    "source list",
    "source credential",
    "source credential set",
    "source credential clear",
    "ask",
    "faq",
    "change",
    "task",
    "task list",
    "task show",
    "task watch",
    "task cancel",
    "doc",
    "doc list",
    "doc show",
    "schedule",
    "schedule create",
    "schedule list",
    "schedule show",
    "schedule pause",
    "schedule resume",
    "schedule delete",
    "events",
    "webhook",
    "webhook add",
    "webhook list",
    "webhook show",
    "webhook remove",
    "webhook enable",
    "webhook rotate",
    "webhook deliveries",
    "webhook redeliver",
    "webhook test",
    "tenant",
    "tenant create",
    "tenant rename",
    "tenant list",
    "tenant suspend",
    "tenant resume",
    "member",
    "member list",
    "member invite",
    "member invitations",
    "member revoke",
    "member accept",
    "member role",
    "member remove",
    "key",
    "key create",
    "key list",
    "key rotate",
    "key revoke",
    "dead-letter",
    "dead-letter list",
    "dead-letter show",
    "dead-letter replay",
    "dead-letter drop",
    "dead-letter list-all",
    "dead-letter drop-quarantined",
    "audit",
    "audit list",
    "audit export",
    "audit operators",
    "limits",
    "limits show",
    "limits set",
    "limits set-tenant",
    "limits set-price",
    "usage",
    "usage show",
    "trace",
    "model",
    "model install",
    "model endpoint",
    "model endpoint set",
    "model endpoint list",
    "model endpoint clear",
    "approval",
    "approval list",
    "approval show",
    "approval approve",
    "approval reject",
    "approval delegate",
    "policy",
    "policy show",
    "policy set",
    "bus",
    "bus rebuild",
    "proof-key",
    "proof-key list",
    "proof-key rotate",
    "proof-key retire",
    "demo",
)
HELP_SECONDS = 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_as_it_was_agreed(cli: Cli, command: str) -> None:
    """MORNINGAI_UPDATE_GOLDEN=1 writes the files anew."""
    golden = GOLDEN / f"help{'-' if command else ''}{command.replace(' ', '-')}.txt"

    said = cli(*command.split(), "--help")

    if os.environ.get("MORNINGAI_UPDATE_GOLDEN"):
        golden.write_text(said.out)
    assert said.code == 0
    assert said.out == golden.read_text()


def test_help_is_there_at_once() -> None:
    """In seconds of the processor, because others may use the machine."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "morningai.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < HELP_SECONDS


def test_help_loads_neither_grpc_nor_the_database() -> None:
    program = (
        "import sys; from morningai.cli.main import run; run(['ask', '--help']); "
        "print([name for name in ('grpc', 'google.protobuf', 'psycopg', 'nats') if name in sys.modules])"
    )

    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert said.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("ask",),
        ("ask", "How?", "--with", "poem"),
        ("task", "list", "--limit", "0"),
        ("up", "--port", "x"),
    ],
)
def test_bad_usage_exits_2_and_names_the_help(cli: Cli, arguments: tuple[str, ...]) -> None:
    said = cli(*arguments)

    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "--help" in said.err


def test_bad_usage_as_json_is_json(cli: Cli) -> None:
    said = cli("ask", "How?", "--with", "poem", "--json")

    assert said.code == 2
    assert said.error["reason"] == "BAD_USAGE"
    assert said.error["field"] == "--with"


def test_a_bare_group_shows_its_commands_and_exits_2(cli: Cli) -> None:
    said = cli("task")

    assert said.code == 2
    assert "cancel" in said.err


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = f"{sys.executable} -m morningai.cli --help | head -1"

    said = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)

    assert said.stderr == ""
