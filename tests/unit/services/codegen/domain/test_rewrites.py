from __future__ import annotations

import pytest

from services.codegen.domain.rewrites import apply_rewrites, code_blocks, find_symbols
from services.codegen.errors import EditRefused

CALC = (
    '"""Sums."""\n\nimport os\n\n\ndef add(a, b):\n    return a - b\n\n\n'
    "class Till:\n    @property\n    def total(self):\n        return 0\n\n    def pay(self):\n        return 1\n"
)


def rewrite(code: str, files: dict[str, str] | None = None) -> dict[str, str]:
    files = files or {"calc.py": CALC}
    return apply_rewrites(f"Sure:\n```python\n{code}\n```\n", files, list(files))


def test_symbols_have_qualified_names_and_their_lines() -> None:
    assert [(symbol.name, symbol.start_line, symbol.end_line) for symbol in find_symbols(CALC)] == [
        ("add", 6, 7),
        ("Till", 10, 16),
        ("Till.total", 11, 13),
        ("Till.pay", 15, 16),
    ]


def test_a_function_takes_the_place_of_its_namesake() -> None:
    assert rewrite("def add(a, b):\n    return a + b") == {"calc.py": CALC.replace("a - b", "a + b")}


def test_a_method_alone_is_put_into_its_class_and_keeps_its_decorator() -> None:
    assert rewrite("def total(self):\n    return 2") == {"calc.py": CALC.replace("return 0", "return 2")}


def test_a_class_with_only_the_changed_method_keeps_its_others() -> None:
    changed = rewrite("class Till:\n    def pay(self):\n        return 5")
    assert changed == {"calc.py": CALC.replace("return 1", "return 5")}


def test_an_import_that_the_new_code_needs_is_added_after_the_others() -> None:
    changed = rewrite("import math\nimport sys\n\ndef add(a, b):\n    return math.fsum((a, b))")["calc.py"]
    assert "import os\nimport math\n\n" in changed
    assert "import sys" not in changed


def test_a_name_in_two_files_is_refused() -> None:
    with pytest.raises(EditRefused, match="more than once"):
        rewrite("def add(a, b):\n    return 1", {"a.py": CALC, "b.py": CALC})


def test_tests_in_the_reply_are_left_out() -> None:
    files = {"calc.py": CALC, "test_calc.py": "def test_add():\n    assert add(1, 1) == 2\n"}
    changed = rewrite("def add(a, b):\n    return a + b\n\ndef test_add():\n    assert True", files)
    assert list(changed) == ["calc.py"]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def add(a, b:", "not valid Python"),
        ("x = 1", "has no function"),
        ("def other():\n    pass", "changes nothing"),
        ("def add(a, b):\n    return a - b", "changes nothing"),
    ],
)
def test_a_reply_that_cannot_be_placed_is_refused(code: str, problem: str) -> None:
    with pytest.raises(EditRefused, match=problem):
        rewrite(code)


def test_a_function_is_taken_out_of_a_block_that_goes_on_with_other_text() -> None:
    echoed = "tests/test_calc.py:4: in test_add\n    assert add(1, 1) == 2\nE   assert 0 == 2"
    assert rewrite(f"def add(a, b):\n    return a + b\n\n{echoed}") == {"calc.py": CALC.replace("a - b", "a + b")}


def test_tags_of_the_prompt_in_the_reply_are_ignored() -> None:
    changed = rewrite("<files-03614348>\ndef add(a, b):\n    return a + b\n</files-03614348>")
    assert changed == {"calc.py": CALC.replace("a - b", "a + b")}


def test_code_is_found_with_closed_open_or_no_fences() -> None:
    assert code_blocks("```python\na\n```\ntext\n```\nb\n```") == ["a\n", "b\n"]
    assert code_blocks("text\n```python\na\n") == ["a\n"]
    assert code_blocks("a = 1") == ["a = 1"]
