from __future__ import annotations

import pytest

from morningai.errors import InvalidInput
from services.docs.domain import (
    Credential,
    diff_of,
    is_commit,
    parse_credential,
    parse_remote,
    parse_revision,
    parse_source_id,
)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        " ",
        "file:///etc/passwd",
        "/srv/repository",
        "../repository",
        "http://git.example/a.git",
        "git://git.example/a.git",
        "ftp://git.example/a.git",
        "ext::sh -c whoami",
        "ext::sh",
        "fd::17",
        "transport::address",
        "https::https://git.example/a",
        "--upload-pack=touch /tmp/x",
        "-u./payload",
        "ssh://-oProxyCommand=touch/a.git",
        "ssh://-oProxyCommand=x@git.example/a.git",
        "https://user:secret@git.example/a.git",
        "https://token@git.example/a.git",
        "ssh://git:secret@git.example/a.git",
        "https:///a.git",
        "https://git.example",
        "https://git.example/",
        "https://git.example/a?x=1",
        "https://git.example/a#x",
        "https://git.example:0/a",
        "https://git.example:99999/a",
        "https://git.example:x/a",
        "https://git exa.mple/a",
        "https://git.example/a b",
        "https://git.example/a\nb",
        "https://git.example/a\\b",
        "https://git.example/`id`",
        "https://bücher.example/a.git",
        "https://[fe80::1%25eth0]/a.git",
        "https://git..example/a.git",
        "ssh://git.example/-option",
        "https://git.example/" + "a" * 3000,
    ],
)
def test_a_remote_with_a_forbidden_transport_or_form_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_remote(uri)
    assert refused.value.field == "remote_uri"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("uri", "normal", "port"),
    [
        ("https://github.com/pallets/flask.git", "https://github.com/pallets/flask.git", 443),
        ("HTTPS://GitHub.com./pallets/flask", "https://github.com/pallets/flask", 443),
        ("https://git.example:8443/a/b", "https://git.example:8443/a/b", 8443),
        ("https://[2606:50c0::1]:443/a.git", "https://[2606:50c0::1]/a.git", 443),
        ("ssh://git@git.example/a.git", "ssh://git@git.example/a.git", 22),
        ("ssh://git.example:2222/~me/a.git", "ssh://git.example:2222/~me/a.git", 2222),
        ("https://dev.azure.com/team/a%20b/_git/c", "https://dev.azure.com/team/a%20b/_git/c", 443),
    ],
)
def test_a_remote_is_normalised(uri: str, normal: str, port: int) -> None:
    remote = parse_remote(uri)
    assert (remote.uri, remote.port) == (normal, port)


def test_a_short_ssh_form_is_answered_with_the_long_one() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_remote("git@github.com:pallets/flask.git")
    assert "ssh://git@github.com/pallets/flask.git" in refused.value.remedy


def test_a_local_path_is_answered_with_the_upload() -> None:
    with pytest.raises(InvalidInput, match="source add"):
        parse_remote("/home/me/project")


def test_a_refusal_does_not_repeat_the_secret() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_remote("https://user:hunter2@git.example/a.git")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("value", ["", "ab", "Abc", "a_b", "a/b", "-ab", "ab-", "a" * 41, "abc\n"])
def test_a_source_name_is_a_slug(value: str) -> None:
    with pytest.raises(InvalidInput):
        parse_source_id(value)


@pytest.mark.parametrize("value", ["abc", "morning-ai", "2fa", "a" * 40])
def test_a_slug_is_a_source_name(value: str) -> None:
    assert parse_source_id(value) == value


@pytest.mark.parametrize(
    "value", ["-x", "--upload-pack=x", "a..b", "a b", "a:b", "+a", "a.lock", "a/", "^a", "a~1", "@{1}"]
)
def test_a_revision_that_git_would_read_otherwise_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput):
        parse_revision(value)


@pytest.mark.parametrize(("value", "revision"), [("", "HEAD"), ("main", "main"), ("release/1.0", "release/1.0")])
def test_a_branch_is_a_revision(value: str, revision: str) -> None:
    assert parse_revision(value) == revision


def test_a_commit_is_forty_hexadecimal_digits() -> None:
    assert is_commit("a" * 40)
    assert not is_commit("a" * 39)


def test_without_a_username_the_remote_is_told_one() -> None:
    assert parse_credential("", "token-0123") == Credential("git", "token-0123")


@pytest.mark.parametrize("username", ["a:b", "a\nb", "a\tb", "é", "x" * 201])
def test_a_username_that_git_cannot_send_is_refused(username: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_credential(username, "token-0123")
    assert refused.value.field == "username"


@pytest.mark.parametrize(
    "token", ["", "1234567", "x" * 3001, "token-0123\n", "token\r\n0123", "token-0123\x7f", "tokén-0123"]
)
def test_a_token_that_git_cannot_send_is_refused_and_not_quoted(token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_credential("", token)
    assert refused.value.field == "token"
    assert not token or token not in str(refused.value)


def test_a_credential_is_shown_without_its_token() -> None:
    assert "token-0123" not in repr(parse_credential("deploy", "token-0123"))


def test_a_diff_shows_what_a_version_changes_and_nothing_where_it_changes_nothing():
    labels = {"old_label": "documents/1@1", "new_label": "documents/1@2"}
    assert diff_of("a\nb", "a\nc", **labels) == "--- documents/1@1\n+++ documents/1@2\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    assert diff_of("a\n", "a\n", **labels) == ""
