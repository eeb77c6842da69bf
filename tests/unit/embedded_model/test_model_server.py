from __future__ import annotations

import asyncio
import importlib.util
import os
from pathlib import Path

import pytest

from morningai.embedded.data_dir import DataDir
from morningai.embedded.model import QWEN_CODER
from morningai.embedded.model_server import NoLocalModel, _flags_have_avx2, has_avx2, local_model_part
from morningai.embedded.part import Part
from morningai.llm import ModelClient, ModelSettings, Prompt, Uncharged


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir.at(tmp_path / "data")


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_KEY"])
def test_a_configured_endpoint_takes_precedence(data_dir: DataDir, tmp_path: Path, variable: str) -> None:
    part = local_model_part(data_dir, tmp_path, {variable: "set"})

    assert isinstance(part, NoLocalModel)
    assert "another model" in part.reason


def test_without_an_installed_model_the_command_that_installs_it_is_named(data_dir: DataDir, tmp_path: Path) -> None:
    part = local_model_part(data_dir, tmp_path, {})

    assert isinstance(part, NoLocalModel)
    assert "morningai model install" in part.remedy


@pytest.mark.parametrize(("flags", "found"), [("fpu avx avx2 bmi2", True), ("fpu avx avx2x bmi2", False)])
def test_avx2_is_read_from_the_processors_flags(tmp_path: Path, flags: str, found: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: avx2\nflags\t\t: {flags}\n", encoding="ascii")

    assert _flags_have_avx2(cpuinfo) is found


def test_an_unreadable_cpuinfo_counts_as_no_avx2(tmp_path: Path) -> None:
    assert not _flags_have_avx2(tmp_path / "absent")


REAL_MODEL = os.environ.get("MORNINGAI_TEST_MODELS_DIR")


@pytest.mark.skipif(
    REAL_MODEL is None or importlib.util.find_spec("xllamacpp") is None or not has_avx2(),
    reason="needs MORNINGAI_TEST_MODELS_DIR with the installed model, xllamacpp and AVX2",
)
async def test_the_real_model_starts_asks_for_its_key_and_answers(data_dir: DataDir) -> None:
    assert REAL_MODEL is not None
    part = local_model_part(data_dir, Path(REAL_MODEL), {"PATH": os.environ["PATH"]})
    assert isinstance(part, Part)
    await part.runner.start()
    try:
        async with asyncio.timeout(part.start_timeout_seconds):
            while not await part.runner.healthy():  # noqa: ASYNC110  it is another process
                await asyncio.sleep(0.1)
        settings = {"base_url": "OPENAI_BASE_URL", "api_key": "OPENAI_API_KEY", "model": "MORNINGAI_MODEL_NAME"}
        client = ModelClient.from_settings(
            ModelSettings.model_validate({name: part.environment[variable] for name, variable in settings.items()})
        )
        assert client is not None
        completion = await client.charged_to(Uncharged()).complete_text(
            Prompt("ask", 1, "Answer with one word.", "Capital of France?"), 10
        )
        await client.close()
    finally:
        await part.runner.stop()

    assert "Paris" in completion.value
    assert completion.model == QWEN_CODER.name
