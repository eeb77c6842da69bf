"""The scripted server as other tests use it: a child process whose calls are counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from morningai.llm import ModelClient, ModelSettings, Prompt, Uncharged

SCRIPT = {
    "rules": [
        {"when": ["capital", "France"], "reply": {"content": "Paris"}},
        {"when": ["twice"], "times": 1, "reply": {"content": "first"}},
        {"when": ["twice"], "reply": {"content": "then"}},
    ]
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    command = [sys.executable, "-m", "morningai.testing.model_server", "--script", str(script), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())
        child.terminate()


async def ask(server: dict[str, str], question: str) -> str:
    client = ModelClient.from_settings(
        ModelSettings.model_validate({"base_url": server["base_url"], "model": "any", "max_attempts": 1})
    )
    assert client is not None
    completion = await client.charged_to(Uncharged()).complete_text(Prompt("ask", 1, "Answer.", question), 100)
    await client.close()
    return completion.value


async def test_the_first_rule_whose_words_are_all_in_the_prompt_answers(server: dict[str, str]) -> None:
    assert await ask(server, "What is the capital of France?") == "Paris"


async def test_a_rule_that_is_used_up_makes_room_for_the_next(server: dict[str, str]) -> None:
    assert [await ask(server, "Say it twice."), await ask(server, "Say it twice.")] == ["first", "then"]


async def test_calls_are_counted_and_recorded(server: dict[str, str]) -> None:
    await ask(server, "What is the capital of France?")

    recorded = httpx2.get(server["calls_url"]).json()

    assert recorded["count"] == 1
    assert recorded["calls"][0]["rule"] == 0
    assert recorded["calls"][0]["body"]["messages"][1]["content"] == "What is the capital of France?"


async def test_a_client_that_does_not_stream_is_answered_too(server: dict[str, str]) -> None:
    body = {"model": "any", "messages": [{"role": "user", "content": "The capital of France?"}]}

    answer = httpx2.post(f"{server['base_url']}/chat/completions", json=body).json()

    assert answer["choices"][0]["message"]["content"] == "Paris"
    assert answer["usage"]["total_tokens"] > 0
