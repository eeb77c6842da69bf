"""The local model as a child process: an OpenAI-compatible server on loopback that asks for a key.

`python -m morningai.embedded.model_server --model FILE --port PORT` serves until it is told to stop; the key is in the
environment. The supervisor gets it as a part from `local_model_part`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from morningai.embedded.child_part import ChildRunner
from morningai.embedded.data_dir import DataDir
from morningai.embedded.model import QWEN_CODER, installed_model
from morningai.embedded.part import Part
from morningai.embedded.process import ChildProcess, Command

PART_NAME = "model"
ENGINE = "llama.cpp"
CONTEXT_TOKENS = 8192
_HOST = "127.0.0.1"
_KEY_VARIABLE = "MORNINGAI_MODEL_SERVER_KEY"
_CACHE_MIB = 64
_START_TIMEOUT_SECONDS = 120.0
# One slot: a call waits for the one before it, and on one core reading 8,192 tokens takes four minutes.
_INACTIVITY_TIMEOUT_SECONDS = 600
_TOTAL_TIMEOUT_SECONDS = 1800
_INSTALL = "Install it with `morningai model install`."


@dataclass(frozen=True)
class NoLocalModel:
    """Why there is none, and what to do about it; shown by `up` and by results of the extractive engine."""

    reason: str
    remedy: str


def local_model_part(
    data_dir: DataDir, models_dir: Path, environment: Mapping[str, str] | None = None
) -> Part | NoLocalModel:
    """The part, with what services need to reach it in `Part.environment`; or the reason why there is none."""
    given = os.environ if environment is None else environment
    if given.get("OPENAI_BASE_URL") or given.get("OPENAI_API_KEY"):
        return NoLocalModel("OPENAI_BASE_URL or OPENAI_API_KEY names another model.", "")
    if missing := why_no_local_model(models_dir):
        return missing
    model_path = installed_model(models_dir)
    assert model_path is not None
    port, key = _free_port(), secrets.token_urlsafe(24)
    arguments = ("-m", "morningai.embedded.model_server", "--model", str(model_path), "--port", str(port))
    command = Command((sys.executable, *arguments), environment={**given, _KEY_VARIABLE: key}, grace_seconds=3.0)
    child = ChildProcess(
        PART_NAME, command, log_path=data_dir.log_file(PART_NAME), record_path=data_dir.record_file(PART_NAME)
    )
    return Part(
        PART_NAME,
        ChildRunner(child, lambda: _answers_health(port)),
        essential=False,
        start_timeout_seconds=_START_TIMEOUT_SECONDS,
        environment=_client_environment(port, key),
    )


def why_no_local_model(models_dir: Path) -> NoLocalModel | None:
    if installed_model(models_dir) is None:
        return NoLocalModel(f"The model {QWEN_CODER.name} is not installed in {models_dir}.", _INSTALL)
    if importlib.util.find_spec("xllamacpp") is None:
        return NoLocalModel("The package xllamacpp is not installed.", "Install morningai with its `model` extra.")
    if not has_avx2():
        return NoLocalModel(
            "This processor has no AVX2, which the local model needs.", "Set OPENAI_BASE_URL to use another model."
        )
    return None


def has_avx2() -> bool:
    """True also on processors of another kind, which need no AVX2."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.leaf7_features"]
        features = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603
        return "AVX2" in features.split()
    return _flags_have_avx2(Path("/proc/cpuinfo"))


def _flags_have_avx2(cpuinfo: Path) -> bool:
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any("avx2" in line.split() for line in text.splitlines() if line.startswith("flags"))


def _client_environment(port: int, key: str) -> Mapping[str, str]:
    return {
        "OPENAI_BASE_URL": f"http://{_HOST}:{port}/v1",
        "OPENAI_API_KEY": key,
        "MORNINGAI_MODEL_NAME": QWEN_CODER.name,
        "MORNINGAI_MODEL_ENGINE": ENGINE,
        "MORNINGAI_MODEL_CONTEXT_TOKENS": str(CONTEXT_TOKENS),
        "MORNINGAI_MODEL_INACTIVITY_TIMEOUT_SECONDS": str(_INACTIVITY_TIMEOUT_SECONDS),
        "MORNINGAI_MODEL_TOTAL_TIMEOUT_SECONDS": str(_TOTAL_TIMEOUT_SECONDS),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])


async def _answers_health(port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(_HOST, port)
            with contextlib.closing(writer):
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status


def serve(model: Path, port: int, key: str) -> None:
    """Loads the model (1 to 3 s), then serves in threads of its own until SIGTERM or SIGINT."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = {QWEN_CODER.name}
    parameters.hostnames = [_HOST]
    parameters.port = port
    parameters.api_keys = [key]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.no_extra_bufts = True  # repacked weights would cost 600 MiB and read prompts no faster
    parameters.cache_ram_mib = _CACHE_MIB
    parameters.fit_params = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    server = xllamacpp.Server(parameters)
    if server.listening_address != f"http://{_HOST}:{port}":
        raise SystemExit(f"port {port} is taken")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the local model on loopback.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    key = os.environ.pop(_KEY_VARIABLE, "")
    if not key:
        parser.error(f"{_KEY_VARIABLE} is not set")
    # Blocked before the server makes its threads, so that the signal comes to sigwait and to nobody else.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    serve(arguments.model, arguments.port, key)
    os._exit(0)  # an answer in progress would be waited for


if __name__ == "__main__":
    main()
