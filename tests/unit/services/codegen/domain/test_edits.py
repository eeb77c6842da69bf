from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.codegen.domain.edits import Edit, apply_edits, parse_edits, replace_lines
from services.codegen.errors import EditRefused

REPLY = """Here is the fix:

```python
src/calc.py
<<<<<<< SEARCH
    return a - b
=======
    return a + b
>>>>>>> REPLACE
```
"""
TEXT = "def add(a, b):\n    return a - b\n\n\ndef sub(a, b):\n    return a - b\n"


def test_a_block_is_read_out_of_prose_and_fences() -> None:
    assert parse_edits(REPLY) == (Edit("src/calc.py", "    return a - b", "    return a + b"),)


@pytest.mark.parametrize(
    "name",
    [
        "src/calc.py",
        "### src/calc.py",
        "`src/calc.py`",
        "**src/calc.py**",
        "File: src/calc.py",
        "# src/calc.py",
        "src/calc.py:",
    ],
)
def test_a_file_name_is_read_however_it_is_decorated(name: str) -> None:
    (edit,) = parse_edits(f"{name}\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE")
    assert edit.path == "src/calc.py"


def test_a_block_without_a_name_belongs_to_the_file_before() -> None:
    edits = parse_edits(f"{REPLY}\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE")
    assert [edit.path for edit in edits] == ["src/calc.py", "src/calc.py"]


@pytest.mark.parametrize("reply", ["a.py\n<<<<<<< SEARCH\nx\n=======\ny", "a.py\n<<<<<<< SEARCH\nx"])
def test_a_block_that_is_not_closed_is_refused(reply: str) -> None:
    with pytest.raises(EditRefused, match="has no line"):
        parse_edits(reply)


def test_prose_has_no_edits() -> None:
    assert parse_edits("I would add the numbers.\n=======\n") == ()


def test_lines_are_replaced_exactly_first() -> None:
    assert replace_lines("a\n  b\nb\n", "b", "c", path="x") == "a\n  b\nc\n"


def test_lines_that_stand_twice_are_refused_with_their_numbers() -> None:
    with pytest.raises(EditRefused, match="lines 2, 6"):
        replace_lines(TEXT, "    return a - b", "    return 0", path="calc.py")


def test_lines_that_differ_only_in_indentation_are_found_and_the_new_ones_indented() -> None:
    changed = replace_lines(TEXT, "def sub(a, b):\nreturn a - b", "def sub(a, b):\nreturn b - a", path="calc.py")
    assert changed.endswith("def sub(a, b):\nreturn b - a\n")
    changed = replace_lines(
        "class A:\n    def f(self):\n        return 1\n",
        "def f(self):\n    return 1",
        "def f(self):\n    return 2",
        path="a",
    )
    assert changed == "class A:\n    def f(self):\n        return 2\n"


def test_lines_that_are_indented_too_far_are_moved_back() -> None:
    assert replace_lines("a = 1\nb = 2\n", "    b = 2", "    b = 3\n    c = 4", path="a") == "a = 1\nb = 3\nc = 4\n"


def test_lines_that_are_not_there_are_refused_with_the_nearest() -> None:
    with pytest.raises(EditRefused, match="from line 5:\ndef sub"):
        replace_lines(TEXT, "def subb(a, b):", "x", path="calc.py")


@pytest.mark.timeout(20)
def test_the_nearest_lines_of_a_large_file_are_found_in_little_time() -> None:
    text = "\n".join(f"    value_{n} = compute(value_{n - 1}, {n})" for n in range(4_000))
    search = "\n".join(f"    value_{n} = compute(value_{n}, {n})" for n in range(2_000, 2_020))

    with pytest.raises(EditRefused, match="from line 2001:"):
        apply_edits((Edit("a.py", search, "x"),), {"a.py": text})


@pytest.mark.timeout(5)
def test_a_long_line_above_a_block_is_no_file_name() -> None:
    assert parse_edits(f"{'a' * 30_000}!\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE") == (Edit("", "x", "y"),)


def test_an_empty_search_makes_a_new_file() -> None:
    assert apply_edits([Edit("new.py", "", "x = 1")], {}) == {"new.py": "x = 1\n"}


def test_an_empty_search_does_not_overwrite_a_file() -> None:
    with pytest.raises(EditRefused, match="exists already"):
        apply_edits([Edit("calc.py", "", "x = 1")], {"calc.py": TEXT})


def test_an_empty_replacement_removes_the_lines() -> None:
    assert apply_edits([Edit("a", "two", "")], {"a": "one\ntwo\nthree\n"}) == {"a": "one\nthree\n"}


def test_a_file_that_does_not_exist_is_refused() -> None:
    with pytest.raises(EditRefused, match=r"no file other\.py"):
        apply_edits([Edit("other.py", "x", "y")], {"calc.py": TEXT})


def test_an_edit_without_a_file_goes_where_its_text_is() -> None:
    assert apply_edits([Edit("", "x = 1", "x = 2")], {"a": "x = 1", "b": "y"}, ["a", "b"]) == {"a": "x = 2"}


def test_an_edit_without_a_file_that_fits_two_is_refused() -> None:
    with pytest.raises(EditRefused, match="names no file"):
        apply_edits([Edit("", "x", "y")], {"a": "x", "b": "x"}, ["a", "b"])


def test_an_edit_with_a_wrong_file_name_goes_to_the_only_file_that_has_its_text() -> None:
    edit = Edit("path/of/the/file.py", "x = 1", "x = 2")
    assert apply_edits([edit], {"src/a.py": "x = 1"}, ["src/a.py"]) == {"src/a.py": "x = 2"}


def test_edits_are_applied_all_or_none() -> None:
    files = {"a": "x\n"}
    with pytest.raises(EditRefused):
        apply_edits([Edit("a", "x", "y"), Edit("a", "absent", "z")], files)
    assert files == {"a": "x\n"}


def test_a_second_edit_sees_the_first() -> None:
    assert apply_edits([Edit("a", "x", "y"), Edit("a", "y", "z")], {"a": "x\n"}) == {"a": "z\n"}


@given(st.text())
def test_any_reply_is_read_or_refused(reply: str) -> None:
    with contextlib.suppress(EditRefused):
        parse_edits(reply)


@given(st.lists(st.text("ab \t", max_size=4), min_size=1, max_size=6, unique_by=str.strip), st.data())
def test_one_line_of_several_different_ones_is_replaced_and_no_other(lines: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(lines) - 1))
    changed = replace_lines("\n".join(lines), lines[index], "NEW", path="a").split("\n")
    assert changed == [*lines[:index], "NEW", *lines[index + 1 :]]
