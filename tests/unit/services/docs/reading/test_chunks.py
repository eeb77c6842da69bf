from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.docs.domain import Chunk
from services.docs.reading.chunks import chunk_file
from services.docs.reading.files import lines_of

PYTHON = '''"""A module."""

import os

LIMIT = 3

# The comment belongs to the function.
# All of it.
@cached
@retry(
    times=2,
)
def first(a):
    return a


async def second():
    return 2


if LIMIT:

    def third():
        return 3


class Small:
    x = 1

    def method(self):
        return self.x


class Large:
    """Has many lines."""

    one = 1
    two = 2

    def start(self):
        a = 1
        b = 2
        c = 3
        d = 4
        return a + b + c + d

    @property
    def name(self):
        return "x"

    @name.setter
    def name(self, value):
        self.value = value

    def stop(self):
        a = 1
        b = 2
        c = 3
        return a + b + c


print(first(1))
'''

MARKDOWN = """Before any heading.

# Title

Text.

## Install

```sh
# not a heading
make
```

### On Linux

apt.

# Empty

## Below

Words.

Underlined
----------

More.
"""

RST = """=====
Title
=====

Text.

Part
----

Words
with no underline.

- a
- b

Deeper
~~~~~~

End.
"""


def symbols(path: str, text: str) -> list[tuple[str, int, int]]:
    return [(chunk.symbol, chunk.start_line, chunk.end_line) for chunk in chunk_file(path, text)]


def test_python_is_split_by_symbol() -> None:
    assert symbols("a.py", PYTHON) == [
        ("", 1, 5),
        ("first", 7, 14),
        ("second", 17, 18),
        ("", 21, 21),
        ("third", 23, 24),
        ("Small", 27, 31),
        ("Large", 34, 38),
        ("Large.start", 40, 45),
        ("Large.name", 47, 53),
        ("Large.stop", 55, 59),
        ("", 62, 62),
    ]


def test_markdown_is_split_by_heading_with_the_path_of_headings() -> None:
    assert symbols("a.md", MARKDOWN) == [
        ("", 1, 1),
        ("Title", 3, 5),
        ("Title > Install", 7, 12),
        ("Title > Install > On Linux", 14, 16),
        ("Empty > Below", 18, 22),
        ("Empty > Underlined", 24, 27),
    ]


def test_rst_is_split_by_heading() -> None:
    assert symbols("a.rst", RST) == [("Title", 1, 5), ("Title > Part", 7, 14), ("Title > Part > Deeper", 16, 19)]


def test_python_that_cannot_be_parsed_is_split_by_block() -> None:
    assert [chunk.symbol for chunk in chunk_file("a.py", "def broken(:\n    print 'x'\n")] == ["broken"]


def test_a_long_function_becomes_windows_cut_at_blank_lines() -> None:
    body = "".join(f"    step({n})\n" + ("\n" if n % 10 == 9 else "") for n in range(150))
    chunks = chunk_file("a.py", f"def long():\n{body}")
    assert {chunk.symbol for chunk in chunks} == {"long"}
    assert max(chunk.end_line - chunk.start_line + 1 for chunk in chunks) <= 60
    assert all(chunk.text.endswith("9)") for chunk in chunks)


@pytest.mark.parametrize(
    ("path", "text", "symbol"),
    [
        ("a.proto", "message A {\n}\n\nservice B {\n  rpc C(A) returns (A);\n}\n", "A, B"),
        ("a.sql", "CREATE TABLE IF NOT EXISTS one (x int);\nCREATE INDEX two ON one (x);\n", "one, two"),
        ("a.ts", "export async function load() {}\nexport const x = 1\n", "load, x"),
        ("a.go", "func (s *Server) Start() {}\ntype Server struct {}\n", "Start, Server"),
        ("a.toml", "[project]\nname = 'x'\n\n[tool.ruff]\n", "project, tool.ruff"),
        ("compose.yaml", "services:\n  db:\n    image: x\nvolumes: {}\n", "services, volumes"),
        ("Makefile", "test: ## run\n\tpytest\n", "test"),
        ("Dockerfile", "FROM python:3.13 AS build\nRUN x\n", "build"),
        ("a.js", "(() => 1)()\n", "lines 1-1"),
    ],
)
def test_other_files_are_called_by_the_names_they_declare(path: str, text: str, symbol: str) -> None:
    assert [chunk.symbol for chunk in chunk_file(path, text)] == [symbol]


def test_blocks_are_packed_into_windows() -> None:
    text = "".join(f"message M{n} {{\n" + "  string a = 1;\n" * 8 + "}\n\n" for n in range(20))
    chunks = chunk_file("a.proto", text)
    assert all(chunk.text.startswith("message ") and chunk.text.endswith("}") for chunk in chunks)
    assert all(chunk.end_line - chunk.start_line < 40 for chunk in chunks)


@pytest.mark.parametrize("text", ["", "\n", "  \n\t\n"])
def test_a_blank_file_has_no_chunks(text: str) -> None:
    assert chunk_file("a.md", text) == []


def test_windows_line_ends_are_kept_verbatim() -> None:
    assert chunk_file("a.py", "x = 1\r\ny = 2\r\n") == [Chunk("a.py", "", 1, 2, "x = 1\r\ny = 2\r")]


LINES = st.lists(
    st.sampled_from(
        ["", "", "  ", "# One", "## Two", "Title", "=====", "-----", "```", "def f():", "    return 1", "class A:",
         "    def m(self):", "        pass", "@decorated", "# comment", "key:", "  nested: 1", "[table]", "message M {",
         "}", "'''", "text\r", "\x0c", "x = 1"]
    ),
    max_size=150,
)  # fmt: skip
NAMES = st.sampled_from(["a.py", "a.md", "a.rst", "a.txt", "a.yaml", "a.toml", "a.proto", "a.sql", "Makefile", "a.ts"])


@settings(max_examples=300, deadline=None)
@given(NAMES, LINES)
def test_every_line_that_is_not_blank_lies_in_exactly_one_chunk(path: str, lines: list[str]) -> None:
    chunks = chunk_file(path, "\n".join(lines) + "\n")
    covered = Counter(line for chunk in chunks for line in range(chunk.start_line, chunk.end_line + 1))
    assert [number for number, line in enumerate(lines, 1) if line.strip() and covered[number] != 1] == []
    assert all(count == 1 for count in covered.values())


@settings(max_examples=200, deadline=None)
@given(NAMES, st.text(max_size=400))
def test_a_chunks_text_is_its_lines(path: str, text: str) -> None:
    lines = lines_of(text)
    chunks = chunk_file(path, text)
    assert [chunk.text for chunk in chunks] == ["\n".join(lines[c.start_line - 1 : c.end_line]) for c in chunks]


@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_a_declaration_is_not_parted_from_the_comment_above_it(between: str) -> None:
    before = "function first() {\n" + "  step();\n" * 38 + "}\n\n"
    text = f"{before}/**\n * Sends a body.\n */{between}res.send = function send(body) {{\n  end(body);\n}}\n"
    assert [(chunk.symbol, chunk.text[:3]) for chunk in chunk_file("response.js", text)] == [
        ("first", "fun"),
        ("send", "/**"),
    ]
