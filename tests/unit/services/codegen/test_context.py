from __future__ import annotations

from morningai.llm import estimate_tokens
from services.codegen.context import choose_context
from services.codegen.domain.changes import Failure, Frame

FILES = {
    "shop/price.py": "def price(n):\n    return n - 1\n\n\ndef rebate(n):\n    return n\n",
    "shop/mail.py": "def send(text):\n    return text\n",
    "tests/test_price.py": "from shop.price import price\n\n\ndef test_price():\n    assert price(1) == 2\n",
    "README.md": "# Shop\n",
}
FAILURE = Failure("tests/test_price.py::test_price", "assert 0 == 2", (Frame("tests/test_price.py", 5, "test_price"),))


def test_the_failing_test_and_the_code_it_uses_are_shown() -> None:
    context = choose_context(FILES, instruction="Fix it.", failures=[FAILURE], budget_tokens=1_000)

    assert context.shown == ("shop/price.py",)
    assert "def test_price():\n    assert price(1) == 2\n\nassert 0 == 2" in context.failures


def test_a_file_named_in_the_instruction_is_shown() -> None:
    context = choose_context(FILES, instruction="Add a title to README.md", failures=[], budget_tokens=1_000)
    assert context.shown == ("README.md",)


def test_code_in_the_traceback_comes_first() -> None:
    failure = Failure("tests/test_price.py::test_price", "", (Frame("shop/mail.py", 2, "send"),))
    context = choose_context(FILES, instruction="", failures=[failure], budget_tokens=1_000)
    assert context.shown[0] == "shop/mail.py"


def test_of_a_long_file_only_the_functions_that_matter_are_shown_within_the_budget() -> None:
    filler = "\n\n".join(f"def other_{n}(value):\n    return value * {n}" for n in range(400))
    files = {**FILES, "shop/price.py": f"{filler}\n\n{FILES['shop/price.py']}"}
    context = choose_context(files, instruction="", failures=[FAILURE], budget_tokens=400)

    assert "def price(n)" in context.files
    assert "other_7" not in context.files
    assert estimate_tokens(context.files + context.failures) <= 400


def test_a_method_is_shown_under_its_class() -> None:
    filler = "\n\n".join(f"def other_{n}(value):\n    return value * {n}" for n in range(400))
    files = {"shop.py": f"{filler}\n\nclass Till:\n    def pay(self):\n        return 0\n"}
    context = choose_context(files, instruction="Fix pay", failures=[], budget_tokens=300)
    assert context.files == "class Till:\n    def pay(self):\n        return 0"


def test_tests_are_never_among_the_files_to_change() -> None:
    context = choose_context(FILES, instruction="Fix tests/test_price.py", failures=[FAILURE], budget_tokens=1_000)
    assert "tests/test_price.py" not in context.shown
