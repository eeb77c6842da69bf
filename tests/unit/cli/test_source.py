from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from morningai.api.sources.v1 import sources_pb2
from morningai.errors import AlreadyExists, InvalidInput, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import Script

MEBIBYTE = 1024 * 1024


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "README.md").write_text("# Shop\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "start")
    return folder


def bundle_of(script: Script) -> bytes:
    return b"".join(part.piece for part in script.uploads[0][1:])


def test_a_folder_is_uploaded_as_a_bundle_of_head(tenant_cli: Cli, script: Script, shop: Path, tmp_path: Path) -> None:
    said = tenant_cli("source", "add", "shop", str(shop))

    (tmp_path / "copy.bundle").write_bytes(bundle_of(script))
    git(tmp_path, "clone", "--quiet", "copy.bundle", "copy")
    assert said.code == 0
    assert (tmp_path / "copy" / "README.md").read_text() == "# Shop\n"
    assert script.uploads[0][0].source.source.commit == git(shop, "rev-parse", "HEAD")


def test_where_the_folder_is_stays_on_this_machine(tenant_cli: Cli, script: Script, shop: Path) -> None:
    tenant_cli("source", "add", "shop", str(shop))

    first = script.uploads[0][0].source
    assert first.source.repository == "shop"
    assert str(shop).encode() not in first.SerializeToString()


def test_the_pieces_are_at_most_a_mebibyte(tenant_cli: Cli, script: Script, shop: Path) -> None:
    (shop / "noise.bin").write_bytes(os.urandom(2 * MEBIBYTE + 100))
    git(shop, "add", "--all")
    git(shop, "commit", "--quiet", "-m", "noise")

    tenant_cli("source", "add", "shop", str(shop))

    sizes = [len(part.piece) for part in script.uploads[0][1:]]
    assert sizes[:2] == [MEBIBYTE, MEBIBYTE]
    assert 0 < sizes[2] < MEBIBYTE


def test_a_folder_inside_stands_for_its_repository(tenant_cli: Cli, script: Script, shop: Path) -> None:
    (shop / "inner").mkdir()

    tenant_cli("source", "add", "shop", str(shop / "inner"))

    assert script.uploads[0][0].source.source.repository == "shop"


def test_uncommitted_changes_are_warned_about(tenant_cli: Cli, shop: Path) -> None:
    (shop / "new.md").write_text("new\n")

    said = tenant_cli("source", "add", "shop", str(shop))

    assert said.code == 0
    assert "1 uncommitted change in" in said.err
    assert "not included" in said.err


def test_a_lost_reply_repeats_the_whole_upload(tenant_cli: Cli, script: Script, shop: Path) -> None:
    script.failures["UploadSource"] = [Unavailable("The gateway stops.")]

    said = tenant_cli("source", "add", "shop", str(shop))

    assert said.code == 0
    assert bundle_of(script).startswith(b"# v2 git bundle")


def test_a_url_is_registered(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("source", "add", "shop", "https://git.example.org/shop.git", "--json")

    assert said.json["remote_uri"] == "https://git.example.org/shop.git"
    assert script.uploads == []


def test_a_registration_is_not_repeated_blindly(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateSource"] = [Unavailable("docs is away.")]

    said = tenant_cli("source", "add", "shop", "https://git.example.org/shop.git")

    assert said.code == 5
    assert len(script.requests("CreateSource")) == 1


def test_a_refused_url_names_the_field(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateSource"] = [InvalidInput("remote_uri", "uses the transport 'file'.", remedy="Use https.")]

    said = tenant_cli("source", "add", "shop", "file:///etc", "--json")

    assert said.code == 2
    assert said.error["field"] == "remote_uri"
    assert said.error["remedy"] == "Use https."


def test_a_taken_name_exits_1(tenant_cli: Cli, script: Script) -> None:
    script.failures["CreateSource"] = [AlreadyExists("source", "shop")]

    assert tenant_cli("source", "add", "shop", "https://git.example.org/shop.git").code == 1


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda folder: folder.rmdir(), "is not a folder"),
        (lambda folder: None, "is not a git repository"),
        (lambda folder: git(folder, "init", "--quiet"), "has no commit"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_with_the_field(
    tenant_cli: Cli, script: Script, tmp_path: Path, prepare: object, problem: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    prepare(folder)  # type: ignore[operator]

    said = tenant_cli("source", "add", "shop", str(folder), "--json")

    assert said.code == 2
    assert said.error["field"] == "path"
    assert problem in str(said.error["message"])
    assert said.error["remedy"]
    assert script.uploads == []


def test_a_shallow_clone_is_refused_with_the_command_that_completes_it(
    tenant_cli: Cli, shop: Path, tmp_path: Path
) -> None:
    git(shop, "commit", "--quiet", "--allow-empty", "-m", "next")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{shop}", "shallow")

    said = tenant_cli("source", "add", "shop", str(tmp_path / "shallow"))

    assert said.code == 2
    assert "git fetch --unshallow" in said.err


def test_a_repository_that_lacks_objects_is_refused_with_what_completes_it(
    tenant_cli: Cli, script: Script, shop: Path
) -> None:
    for line in git(shop, "ls-tree", "-r", "HEAD").splitlines():
        blob_hash = line.split()[2]
        (shop / ".git" / "objects" / blob_hash[:2] / blob_hash[2:]).unlink()

    said = tenant_cli("source", "add", "shop", str(shop), "--json")

    assert said.code == 2
    assert said.error["field"] == "path"
    assert "cannot be bundled" in str(said.error["message"])
    assert "git fetch --refetch" in str(said.error["remedy"])
    assert script.uploads == []


def test_programs_of_the_repository_are_not_run(tenant_cli: Cli, shop: Path, tmp_path: Path) -> None:
    spy = tmp_path / "spy.sh"
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    spy.chmod(0o755)
    git(shop, "config", "core.fsmonitor", str(spy))

    assert tenant_cli("source", "add", "shop", str(shop)).code == 0
    assert not (tmp_path / "ran").exists()


def test_the_git_around_a_hook_does_not_confuse(
    tenant_cli: Cli, script: Script, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    assert tenant_cli("source", "add", "shop", str(shop)).code == 0


def test_sources_are_listed(tenant_cli: Cli, script: Script) -> None:
    upload = sources_pb2.SOURCE_KIND_UPLOAD
    script.sources = [sources_pb2.Source(name="sources/shop", kind=upload, repository="shop", file_count=3)]

    said = tenant_cli("source", "list")

    assert said.out.splitlines()[1].split() == ["shop", "upload", "shop", "3"]


TOKEN = "glpat-hush0123456789"


def test_a_token_is_read_from_standard_input_and_not_shown(
    tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))

    said = tenant_cli("source", "credential", "set", "shop", "--username", "deploy")

    assert said.code == 0
    assert script.requests("SetSourceCredential") == [
        sources_pb2.SetSourceCredentialRequest(name="sources/shop", username="deploy", token=TOKEN)
    ]
    assert "sources/shop is fetched as deploy" in said.out
    assert TOKEN not in said.out + said.err


def test_a_token_is_no_argument(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("source", "credential", "set", "shop", TOKEN)

    assert said.code == 2
    assert script.calls == []


def test_an_empty_standard_input_is_no_token(tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))

    said = tenant_cli("source", "credential", "set", "shop", "--json")

    assert (said.code, said.error["field"]) == (2, "token")
    assert script.calls == []


def test_at_a_terminal_the_token_is_asked_for(tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("morningai.cli.secret_input.getpass", lambda prompt: asked.append(prompt) or TOKEN)

    assert tenant_cli("source", "credential", "set", "shop").code == 0
    assert asked == ["token: "]
    assert [request.token for request in script.requests("SetSourceCredential")] == [TOKEN]  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_credential_is_cleared(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("source", "credential", "clear", "sources/shop", "--json")

    assert said.json["name"] == "sources/shop"
    assert "credential" not in said.json
    assert script.requests("ClearSourceCredential") == [sources_pb2.ClearSourceCredentialRequest(name="sources/shop")]


def test_the_list_shows_whom_a_remote_is_fetched_as(tenant_cli: Cli, script: Script) -> None:
    credential = sources_pb2.SourceCredential(username="deploy")
    script.sources = [sources_pb2.Source(name="sources/shop", remote_uri="https://x.example/s", credential=credential)]

    said = tenant_cli("source", "list")

    assert said.out.splitlines()[1].split()[-1] == "deploy"
