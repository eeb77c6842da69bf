from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from morningai.llm import Completion, Prompt
from services.codegen.context import Context
from services.codegen.domain.changes import Failure, SuiteRun
from services.codegen.errors import EditRefused
from services.codegen.nodes import ask, edited_files, feedback_on_failures

CONTEXT = Context(failures="", files="", shown=("calc.py",))
BLOCK = "calc.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n"


@dataclass
class RecordingModel:
    context_tokens: int
    engine: str = "local"
    model: str = "tiny-1b"
    asked: list[tuple[str, float]] = field(default_factory=list)

    def prompt_budget(self, max_output_tokens: int) -> int:
        return self.context_tokens - max_output_tokens

    async def complete_text(self, prompt: Prompt, max_output_tokens: int, *, temperature: float) -> Completion[str]:
        self.asked.append((prompt.name, temperature))
        return Completion("…", self.engine, self.model, 10, 5)


@pytest.mark.parametrize(
    ("context_tokens", "forms"),
    [
        (8_192, ["rewrite_functions", "rewrite_functions", "rewrite_functions"]),
        (128_000, ["rewrite_functions", "edit_blocks", "rewrite_functions"]),
    ],
)
async def test_only_a_model_with_a_large_context_is_asked_for_edit_blocks(
    context_tokens: int, forms: list[str]
) -> None:
    model = RecordingModel(context_tokens)
    for attempt in (1, 2, 3):
        await ask(model, CONTEXT, "Fix it.", feedback="", attempt=attempt, max_output_tokens=500)
    assert [name for name, _ in model.asked] == forms


async def test_only_the_first_attempt_is_asked_for_at_temperature_zero() -> None:
    model = RecordingModel(8_192)
    for attempt in (1, 2):
        await ask(model, CONTEXT, "Fix it.", feedback="", attempt=attempt, max_output_tokens=500)
    first, second = (temperature for _, temperature in model.asked)
    assert first == 0 < second


@pytest.mark.parametrize(
    ("patch", "said"), [("", "An earlier fix was wrong."), ("-a\n+b", "Your last answer was:\n-a")]
)
def test_what_failed_is_fed_back_with_the_patch_where_there_is_one(patch: str, said: str) -> None:
    failure = Failure("test_a.py::test_one", "assert 1 == 2", ())
    run = SuiteRun("completed", {}, (), (failure,), (), "", 0.1)
    feedback = feedback_on_failures(patch, run, ("test_a.py::test_one",))
    assert feedback.startswith(said)
    assert "test_a.py::test_one:\nassert 1 == 2" in feedback


def test_blocks_are_preferred_to_functions() -> None:
    files = {"calc.py": "def add(a, b):\n    return a - b\n"}
    reply = f"```python\n{BLOCK}```\n```python\ndef add(a, b):\n    return 0\n```"
    assert edited_files(reply, files, CONTEXT) == {"calc.py": "def add(a, b):\n    return a + b\n"}


def test_windows_line_ends_are_kept() -> None:
    files = {"calc.py": "def add(a, b):\r\n    return a - b\r\n"}
    assert edited_files(BLOCK, files, CONTEXT) == {"calc.py": "def add(a, b):\r\n    return a + b\r\n"}


def test_an_edit_that_leaves_broken_python_is_refused() -> None:
    files = {"calc.py": "def add(a, b):\n    return a - b\n"}
    with pytest.raises(EditRefused, match="not valid Python"):
        edited_files(BLOCK.replace("a + b", "(a + b"), files, CONTEXT)
