from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from morningai.api.tenants.v1 import audit_pb2, keys_pb2
from morningai.errors import PermissionDenied, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import Script


def created_key(script: Script) -> keys_pb2.ApiKey:
    request = script.requests("CreateApiKey")[0]
    assert isinstance(request, keys_pb2.CreateApiKeyRequest)
    return request.api_key


def test_a_new_key_is_shown_with_its_name(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("key", "create", "CI", "--scope", "tasks.read", "--scope", "tasks.write")

    assert said.code == 0
    assert "mk_2.new-secret" in said.out
    assert "shown this once" in said.err
    assert list(created_key(script).scopes) == ["tasks.read", "tasks.write"]
    assert not created_key(script).HasField("expire_time")


def test_a_key_expires_after_the_time_given(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("key", "create", "CI", "--scope", "tasks.read", "--expires-in", "7d")

    left = created_key(script).expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


@pytest.mark.parametrize("duration", ["", "7", "d", "-1d", "1y", "999999999d", "1.5h"])
def test_what_is_no_duration_is_refused_with_the_option(tenant_cli: Cli, script: Script, duration: str) -> None:
    said = tenant_cli("key", "rotate", "mk_2", "--overlap", duration, "--json")

    assert said.code == 2
    assert said.error["field"] == "--overlap"
    assert script.requests("RotateApiKey") == []


def test_a_key_without_a_scope_is_not_asked_for(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("key", "create", "CI").code == 2
    assert script.requests("CreateApiKey") == []


def test_a_creation_is_not_repeated_blindly(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateApiKey"] = [Unavailable("tenancy is away.")]

    assert tenant_cli("key", "create", "CI", "--scope", "tasks.read").code == 5
    assert len(script.requests("CreateApiKey")) == 1


def test_a_refused_scope_exits_4(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateApiKey"] = [PermissionDenied("This needs the scope 'x'.", remedy="Ask an owner.")]

    assert tenant_cli("key", "create", "CI", "--scope", "x").code == 4


def test_the_list_names_each_key_and_which_are_revoked(tenant_cli: Cli) -> None:
    said = tenant_cli("key", "list")

    assert said.out.splitlines()[1].split() == ["mk_2", "CI", "never", "tasks.read"]
    assert said.out.splitlines()[2].split() == ["mk_2", "old", "revoked", "tasks.read"]


def test_a_rotation_keeps_the_old_secret_for_an_hour(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("key", "rotate", "mk_2", "--json")

    assert said.json["key"] == "mk_2.newer-secret"
    request = script.requests("RotateApiKey")[0]
    assert isinstance(request, keys_pb2.RotateApiKeyRequest)
    assert (request.name, request.overlap.seconds) == ("apiKeys/mk_2", 3600)


def test_a_rotation_says_until_when_the_old_secret_is_valid(tenant_cli: Cli) -> None:
    said = tenant_cli("key", "rotate", "apiKeys/mk_2", "--overlap", "1h")

    assert "mk_2.newer-secret" in said.out
    assert "The old secret is valid until" in said.err


def test_a_key_is_revoked(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("key", "revoke", "mk_2")

    assert said.out == "apiKeys/mk_2 is revoked\n"
    assert script.requests("RevokeApiKey") == [keys_pb2.RevokeApiKeyRequest(name="apiKeys/mk_2")]


def test_entries_are_listed_as_asked_for(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("audit", "list", "--action", "keys.create", "--principal", "key:mk_1", "--since", "12h")

    assert said.out.splitlines()[1].split()[2:] == ["keys.create", "apiKeys/mk_2", "key:mk_1", "succeeded"]
    request = script.requests("ListAuditEntries")[0]
    assert isinstance(request, audit_pb2.ListAuditEntriesRequest)
    assert (request.filter.action, request.filter.principal) == ("keys.create", "key:mk_1")
    assert datetime.now(UTC) - request.filter.start_time.ToDatetime(tzinfo=UTC) < timedelta(hours=12, minutes=1)


def test_refused_calls_are_asked_for_alone(tenant_cli: Cli, script: Script) -> None:
    tenant_cli("audit", "list", "--outcome", "refused")
    tenant_cli("audit", "export", "--outcome", "refused")

    wanted = audit_pb2.AuditFilter(outcome=audit_pb2.AUDIT_OUTCOME_REFUSED)
    asked = [*script.requests("ListAuditEntries"), *script.requests("ExportAuditEntries")]
    assert [request.filter for request in asked] == [wanted] * 2  # type: ignore[attr-defined]


def test_what_operators_did_outside_all_tenants_is_listed(operator_cli: Cli) -> None:
    said = operator_cli("audit", "operators")

    assert said.out.splitlines()[1].split()[2:] == ["prices.set", "models/small", "operator:op_1", "succeeded"]


def test_the_export_is_json_lines(tenant_cli: Cli) -> None:
    said = tenant_cli("audit", "export")

    entries = [json.loads(line) for line in said.out.splitlines()]
    assert [entry["name"] for entry in entries] == ["auditEntries/1", "auditEntries/2", "auditEntries/3"]
    assert entries[0]["outcome"] == "AUDIT_OUTCOME_SUCCEEDED"


def test_the_export_goes_to_a_new_file_of_its_owner_alone(tenant_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"

    said = tenant_cli("audit", "export", str(file), "--json")

    assert said.json == {"file": str(file), "entries": 3}
    assert len(file.read_text().splitlines()) == 3
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_export_never_replaces_a_file(tenant_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text("kept")

    said = tenant_cli("audit", "export", str(file), "--json")

    assert (said.code, said.error["field"], file.read_text()) == (2, "FILE", "kept")


def test_an_export_that_breaks_off_leaves_no_file(tenant_cli: Cli, script: Script, tmp_path: Path) -> None:
    script.entries_exported = 2

    said = tenant_cli("audit", "export", str(tmp_path / "audit.jsonl"))

    assert said.code == 5
    assert list(tmp_path.glob("audit*")) == []
