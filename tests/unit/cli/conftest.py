"""The command line as a test calls it: arguments in, exit code and what was said out; no state of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from morningai.cli.main import run
from tests.unit.cli.fake_gateway import KEY, OPERATOR_KEY, Script, serving


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.out)
        return content

    @property
    def error(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.err)["error"]
        return content


Cli = Callable[..., Said]


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADDRESS", "API_KEY", "OPERATOR_KEY", "DATA_DIR", "TENANT"):
        monkeypatch.delenv(f"MORNINGAI_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def address(script: Script) -> Iterator[str]:
    with serving(script) as address:
        yield address


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture
def tenant_cli(cli: Cli, address: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Connected to the fake gateway with a tenant's key."""
    monkeypatch.setenv("MORNINGAI_ADDRESS", address)
    monkeypatch.setenv("MORNINGAI_API_KEY", KEY)
    return cli


@pytest.fixture
def operator_cli(cli: Cli, address: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Connected to the fake gateway with the operator's key."""
    monkeypatch.setenv("MORNINGAI_ADDRESS", address)
    monkeypatch.setenv("MORNINGAI_OPERATOR_KEY", OPERATOR_KEY)
    return cli
