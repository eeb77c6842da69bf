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


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("x = 1\r\n    return a - b\r\n", "x = 1\r\n    return a + b\r\n"),
        ("x = 1\r\n    return a - b\n", "x = 1\r\n    return a + b\n"),
        ("\f\n    return a - b\n", "\f\n    return a + b\n"),
    ],
    ids=["all are Windows line ends", "some are", "a form feed"],
)
def test_lines_that_are_not_edited_keep_their_ends(text: str, edited: str) -> None:
    block = BLOCK.replace("calc.py", "calc.txt").replace("\n", "\r\n")
    assert edited_files(block, {"calc.txt": text}, CONTEXT) == {"calc.txt": edited}


@pytest.mark.parametrize("reply", [BLOCK, "```python\r\ndef add(a, b):\r\n    return a + b\r\n```\r\n"])
def test_a_file_with_a_byte_order_mark_is_edited(reply: str) -> None:
    files = {"calc.py": "\ufeffx = 1\n\n\ndef add(a, b):\n    return a - b\n"}
    assert edited_files(reply, files, CONTEXT) == {"calc.py": files["calc.py"].replace("-", "+")}


def test_a_method_goes_into_a_class_that_is_indented_by_tabs() -> None:
    files = {"calc.py": "class A:\n\tdef f(self):\n\t\treturn 1\n\n\tdef g(self):\n\t\treturn 3\n"}
    reply = "```python\nclass A:\n\tdef f(self):\n\t\treturn 2\n```"
    assert edited_files(reply, files, CONTEXT) == {"calc.py": files["calc.py"].replace("1", "2")}


@pytest.mark.parametrize("value", ["-" * 100_000 + "1", "'\ud800'", "(" * 300])
def test_code_that_the_parser_does_not_bear_is_refused(value: str) -> None:
    with pytest.raises(EditRefused, match="not valid Python"):
        edited_files(BLOCK.replace("a + b", value), {"calc.py": "def add(a, b):\n    return a - b\n"}, CONTEXT)
