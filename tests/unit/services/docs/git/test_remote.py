from __future__ import annotations

from pathlib import Path

import pytest

from morningai.egress import Destination
from morningai.errors import InvalidInput, Unavailable
from services.docs.domain import parse_remote
from services.docs.git.process import GitFailed
from services.docs.git.remote import RemoteAccess, explain, pinned_resolution, ssh_command

REMOTE = parse_remote("https://git.example/a.git")


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("fatal: couldn't find remote ref nope", "revision"),
        ("fatal: could not read Username for 'https://git.example': terminal prompts disabled", "remote_uri"),
        ("git@git.example: Permission denied (publickey).", "remote_uri"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "remote_uri"),
        ("fatal: unable to access 'x': The requested URL returned error: 301", "remote_uri"),
        ("fatal: unable to access 'x': SSL certificate problem: self-signed certificate", "remote_uri"),
        ("fatal: repository 'https://git.example/a.git/' not found", "remote_uri"),
        ("error: index-pack died of signal 25", "remote_uri"),
        ("fatal: something new", "remote_uri"),
    ],
)
def test_what_a_person_can_act_on_is_wrong_input(written: str, field: str) -> None:
    error = explain(GitFailed(128, written), REMOTE)
    assert isinstance(error, InvalidInput)
    assert error.field == field
    assert error.remedy


@pytest.mark.parametrize(
    "written",
    [
        "fatal: Authentication failed for 'https://git.example/a.git/'",
        "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
        "fatal: unable to access 'x': The requested URL returned error: 403",
    ],
)
def test_a_refused_credential_is_the_wrong_field_and_a_missing_one_is_not(written: str) -> None:
    refused = explain(GitFailed(128, written), REMOTE, with_credential=True)
    missing = explain(GitFailed(128, written), REMOTE)
    assert [error.field for error in (refused, missing) if isinstance(error, InvalidInput)] == [
        "credential",
        "remote_uri",
    ]
    assert "`morningai source credential set NAME`" in refused.remedy
    assert "`morningai source credential set NAME`" in missing.remedy


@pytest.mark.parametrize(
    "written",
    [
        "fatal: unable to access 'x': Failed to connect to git.example port 443",
        "fatal: unable to access 'x': The requested URL returned error: 503",
        "fatal: the remote end hung up unexpectedly",
    ],
)
def test_a_remote_that_is_down_is_tried_again(written: str) -> None:
    assert isinstance(explain(GitFailed(128, written), REMOTE), Unavailable)


def test_what_a_remote_wrote_is_shown_without_control_characters() -> None:
    error = explain(GitFailed(128, "remote: \x1b[31mclick here\nfatal: \x1b[31mred"), REMOTE)
    assert "\x1b" not in str(error)
    assert "click here" not in str(error)


def test_addresses_are_pinned_the_way_curl_reads_them() -> None:
    destination = Destination("git.example", 8443, ("140.82.121.4", "2606:50c0::153"))
    assert pinned_resolution(destination) == "git.example:8443:140.82.121.4,[2606:50c0::153]"


def test_a_literal_address_needs_no_pin() -> None:
    assert pinned_resolution(Destination("140.82.121.4", 443, ("140.82.121.4",))) == ""


def test_ssh_connects_to_the_checked_address_and_accepts_only_a_known_key() -> None:
    access = RemoteAccess(ssh_known_hosts_file=Path("/keys/known_hosts"), ssh_key_file=Path("/keys/id"))
    command = ssh_command(Destination("git.example", 2222, ("140.82.121.4",)), access)
    assert {
        "HostName=140.82.121.4",
        "HostKeyAlias=[git.example]:2222",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=/keys/known_hosts",
        "IdentityFile=/keys/id",
        "BatchMode=yes",
        "ProxyCommand=none",
    } <= set(command)
    assert command[:3] == ["ssh", "-F", "/dev/null"]
