"""`dead-letter`: what is asked of the gateway, and what is said of its answers."""

from __future__ import annotations

from uuid import UUID

from morningai.api.tenants.v1 import dead_letters_pb2 as api
from morningai.cli.exit_code import ExitCode
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import Script

LETTER = f"orchestrator-replies.{UUID(int=7)}"


def test_a_list_says_why_and_under_which_trace(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("dead-letter", "list", "--service", "orchestrator", "--state", "buried")

    assert said.code == ExitCode.SUCCESS
    assert {LETTER, "SourceIndexed", "POISON", "buried", "0af7651916cd43dd8448eb211c80319c"} <= set(said.out.split())
    (request,) = script.requests("ListDeadLetters")
    assert isinstance(request, api.ListDeadLettersRequest)
    wanted = api.DeadLetterFilter(service="orchestrator", state=api.DEAD_LETTER_STATE_BURIED)
    assert request.filter == wanted


def test_a_letter_is_shown_with_what_it_says(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("dead-letter", "show", LETTER)

    assert "reason   POISON after 3 deliveries" in said.out
    assert '"snapshot": "s"' in said.out
    assert script.requests("GetDeadLetter") == [api.GetDeadLetterRequest(name=f"deadLetters/{LETTER}")]


def test_a_letter_is_replayed_by_its_name(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("dead-letter", "replay", LETTER, "--json")

    assert said.json["state"] == "DEAD_LETTER_STATE_REPLAYED"
    assert script.requests("ReplayDeadLetter") == [api.ReplayDeadLetterRequest(name=f"deadLetters/{LETTER}")]


def test_a_drop_says_who_and_why(tenant_cli: Cli) -> None:
    said = tenant_cli("dead-letter", "drop", LETTER, "--why", "the task was repeated")

    assert "key:mk_1: the task was repeated" in said.out


def test_a_drop_needs_a_reason(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("dead-letter", "drop", LETTER)

    assert said.code == ExitCode.BAD_INPUT
    assert "--why" in said.err
    assert script.requests("DropDeadLetter") == []


def test_an_operator_sees_whose_they_are(operator_cli: Cli, script: Script) -> None:
    said = operator_cli("dead-letter", "list-all", "--quarantined")

    assert [line.split()[-1] for line in said.out.splitlines()] == ["tenant", "none", "1"]
    (request,) = script.requests("ListAllDeadLetters")
    assert isinstance(request, api.ListAllDeadLettersRequest)
    assert request.quarantined


def test_an_operator_drops_what_proves_no_tenant(operator_cli: Cli, script: Script) -> None:
    said = operator_cli("dead-letter", "drop-quarantined", LETTER, "--why", "forged")

    assert said.out == f"dropped deadLetters/{LETTER}\n"
    wanted = api.DropQuarantinedDeadLetterRequest(name=f"deadLetters/{LETTER}", why="forged")
    assert script.requests("DropQuarantinedDeadLetter") == [wanted]
