from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from morningai.cli.demo.platform import running_platform, up_command
from morningai.errors import FailedPrecondition

STAND_IN = Path(__file__).parent / "stand_in_up.py"


def command(folder: Path, behaviour: str) -> list[str]:
    return [sys.executable, str(STAND_IN), str(folder), "127.0.0.1:7", behaviour]


@pytest.mark.parametrize("behaviour", ["ready", "garbage"])
def test_it_is_ready_inside_and_stopped_after(tmp_path: Path, behaviour: str) -> None:
    with running_platform(command(tmp_path, behaviour), errors_file=tmp_path / "errors") as ready:
        assert ready.gateway == "127.0.0.1:7"
        assert not (tmp_path / "stopped").exists()

    assert (tmp_path / "stopped").exists()


def test_it_is_stopped_when_the_block_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        running_platform(command(tmp_path, "ready"), errors_file=tmp_path / "errors"),
    ):
        raise KeyboardInterrupt

    assert (tmp_path / "stopped").exists()


def test_a_failed_start_gives_the_reason_and_the_remedy(tmp_path: Path) -> None:
    with (
        pytest.raises(FailedPrecondition, match=r"No room\. Make some\."),
        running_platform(command(tmp_path, "failed"), errors_file=tmp_path / "errors"),
    ):
        pass


def test_an_end_without_a_word_gives_the_last_line_of_its_errors(tmp_path: Path) -> None:
    with (
        pytest.raises(FailedPrecondition, match=r"it ended with 7\. it broke"),
        running_platform(command(tmp_path, "silent"), errors_file=tmp_path / "errors"),
    ):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_it_ends_when_the_demo_is_killed(tmp_path: Path) -> None:
    import subprocess
    import time

    program = (
        "import os, signal; from pathlib import Path; from morningai.cli.demo.platform import running_platform\n"
        f"with running_platform({command(tmp_path, 'ready')!r}, errors_file=Path({str(tmp_path / 'errors')!r})):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )

    subprocess.run([sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": "."})

    deadline = time.monotonic() + 10
    while not (tmp_path / "stopped").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "stopped").exists()


def test_without_a_model_up_is_told_so(tmp_path: Path) -> None:
    assert "--no-model" in up_command(tmp_path, 5, use_model=False)
    assert "--no-model" not in up_command(tmp_path, 5, use_model=True)
