from __future__ import annotations

import pytest

from services.codegen.context import Context
from services.codegen.errors import EditRefused
from services.codegen.nodes import edited_files

CONTEXT = Context(failures="", files="", shown=("calc.py",))
BLOCK = "calc.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n"


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
