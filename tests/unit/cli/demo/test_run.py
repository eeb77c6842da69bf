from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from morningai.cli.demo.repositories import make_broken_repository
from morningai.cli.demo.run import DemoOptions, run_demo
from morningai.cli.exit_code import ExitCode
from morningai.cli.output import Output
from morningai.errors import MorningAIError
from tests.unit.cli.fake_gateway import Script, step

STAND_IN = Path(__file__).parent / "stand_in_up.py"


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODEL", "extractive")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def options(address: str, script: Script, tmp_path: Path) -> DemoOptions:
    results = ("answers/1", "faqs/1", "documents/1", "changes/1")
    script.steps = [step(name.partition("s/")[0], "docs", end=1, result=name) for name in results]
    folder = make_broken_repository(tmp_path / "shop").local.folder
    return DemoOptions(folder, tmp_path / "data", tmp_path / "result.json", up_command=stand_in(address, "ready"))


def stand_in(address: str, behaviour: str):  # type: ignore[no-untyped-def]
    def command(data_dir: Path, port: int, *, use_model: bool) -> Sequence[str]:
        data_dir.mkdir()
        return (sys.executable, str(STAND_IN), str(data_dir), address, behaviour)

    return command


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("morningai-demo-*")]


def test_a_demo_that_shows_everything_succeeds_and_leaves_nothing(
    options: DemoOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_demo(Output(), options)

    said = capsys.readouterr().out
    assert code is ExitCode.SUCCESS
    assert "The gateway is the one public door." in said
    assert "5. Question 4?" in said
    assert "# Architecture" in said
    assert "state   verified" in said
    assert "━" in said
    assert (tmp_path / "data" / "stopped").exists()
    assert leftovers(tmp_path) == []


def test_the_whole_result_is_written_for_a_checker(options: DemoOptions, tmp_path: Path) -> None:
    run_demo(Output(), options)

    result = json.loads((tmp_path / "result.json").read_text())
    assert result["repository"]["path"] == str(tmp_path / "shop")
    assert result["shortcomings"] == []
    assert len(result["tasks"]) == len(result["traces"]) == 2
    assert {"answer", "faq", "document", "change", "engine"} <= result.keys()


def test_a_shortcoming_fails_the_demo_and_keeps_the_logs(
    options: DemoOptions, script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.steps = script.steps[1:]

    code = run_demo(Output(), options)

    said = capsys.readouterr().out
    assert code is ExitCode.FAILED
    assert "There is no answer whose every claim is cited." in said
    assert "Logs: " in said
    assert len(leftovers(tmp_path)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_everything(
    options: DemoOptions, script: Script, tmp_path: Path, number: signal.Signals
) -> None:
    script.endless = True

    def interrupt_the_watch() -> None:
        deadline = time.monotonic() + 20
        while not script.requests("WatchTask") and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt_the_watch, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_demo(Output(), options)

    assert (tmp_path / "data" / "stopped").exists()
    assert json.loads((tmp_path / "result.json").read_text())["shortcomings"] == ["The demo did not reach its end."]


def test_a_platform_that_does_not_start_is_told(options: DemoOptions, address: str, tmp_path: Path) -> None:
    failing = DemoOptions(options.folder, tmp_path / "data", up_command=stand_in(address, "failed"))

    with pytest.raises(MorningAIError, match=r"No room\. Make some\."):
        run_demo(Output(), failing)
