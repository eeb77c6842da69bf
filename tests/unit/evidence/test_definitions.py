from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morningai.evidence.definitions import code_statements, setting_statements
from morningai.evidence.model import Passage
from morningai.evidence.statements import readable

Make = Callable[..., Passage]


@pytest.mark.parametrize(
    ("path", "code", "said", "quote"),
    [
        (
            "a.py",
            'def pack(value: int) -> bytes:\n    """Turns a value into bytes.\n\n    More here and there.\n    """\n',
            "`a.py` defines `pack`: Turns a value into bytes.",
            'def pack(value: int) -> bytes:\n    """Turns a value into bytes.',
        ),
        (
            "a.js",
            "/**\n * Packs a value into bytes.\n *\n * @param value\n */\n\nbox.pack = function pack(value) {\n",
            "`a.js` defines `pack`: Packs a value into bytes.",
            "Packs a value into bytes.\n *\n * @param value\n */\n\nbox.pack = function pack(value) {",
        ),
        (
            "A.cs",
            '/// <summary>\n/// Packs a <see cref="T:Box"/> into bytes.\n/// </summary>\n'
            "public static byte[] Pack(Box box)\n",
            "`A.cs` defines `Pack`: Packs a `Box` into bytes.",
            'Packs a <see cref="T:Box"/> into bytes.\n/// </summary>\npublic static byte[] Pack(Box box)',
        ),
        (
            "a.ts",
            "// Packs a value into bytes.\nexport async function pack(value: number) {\n",
            "`a.ts` defines `pack`: Packs a value into bytes.",
            "Packs a value into bytes.\nexport async function pack(value: number) {",
        ),
        (
            "a.go",
            "// Pack turns a value into bytes.\nfunc (p *Packer) Pack(value int) []byte {\n",
            "`a.go` defines `Pack`: Pack turns a value into bytes.",
            "Pack turns a value into bytes.\nfunc (p *Packer) Pack(value int) []byte {",
        ),
        (
            "a.rs",
            "/// Packs a value into bytes.\npub fn pack(value: u8) -> Vec<u8> {\n",
            "`a.rs` defines `pack`: Packs a value into bytes.",
            "Packs a value into bytes.\npub fn pack(value: u8) -> Vec<u8> {",
        ),
        (
            "a.sql",
            "-- One row per task, for ever.\nCREATE TABLE IF NOT EXISTS tasks (\n",
            "`a.sql` defines `tasks`: One row per task, for ever.",
            "One row per task, for ever.\nCREATE TABLE IF NOT EXISTS tasks (",
        ),
        (
            "a.proto",
            "// Requests and what became of them.\nservice TaskService {\n",
            "`a.proto` defines `TaskService`: Requests and what became of them.",
            "Requests and what became of them.\nservice TaskService {",
        ),
    ],
)
def test_a_definition_is_quoted_with_the_first_sentence_about_it(
    make_passage: Make, path: str, code: str, said: str, quote: str
) -> None:
    first = next(item for item in code_statements(make_passage(path, code)) if item.kind == "definition")
    assert readable(first) == said
    assert first.evidence.quote == quote


def test_the_documentation_of_a_module_is_a_statement(make_passage: Make) -> None:
    (statement,) = code_statements(make_passage("a/b.py", '"""Keeps the notes that readers write."""\n'))
    assert readable(statement) == "`a/b.py`: Keeps the notes that readers write."


def test_a_method_is_named_with_its_class(make_passage: Make) -> None:
    passage = make_passage("a.py", 'def get(self) -> int:\n    """Gives the newest value."""\n', symbol="Store.get")
    assert next(iter(code_statements(passage))).subject == "Store.get"


def test_a_makefile_target_says_what_it_runs(make_passage: Make) -> None:
    passage = make_passage("Makefile", "test: build ## Run every test\n\tpytest -q\n\nbuild:\n\tcc main.c\n")
    assert [(item.subject, item.text) for item in setting_statements(passage)] == [
        ("test", "Run every test"),
        ("build", "it runs `cc main.c`"),
    ]


def test_a_setting_is_one_line_of_its_file(make_passage: Make) -> None:
    (statement,) = setting_statements(make_passage("pyproject.toml", '[project]\nlicense = "MIT"\n'))
    assert readable(statement) == '`pyproject.toml` sets `license = "MIT"`.'


@given(st.text(alphabet="defclass ab():#/*-\"'\n\t=.A", max_size=400))
def test_every_statement_is_cut_from_the_passage(text: str) -> None:
    passage = Passage("a.py", "", "c" * 40, "b" * 40, 1, text.count("\n") + 1, text)
    for statement in (*code_statements(passage), *setting_statements(passage)):
        assert text[statement.start : statement.end] == statement.evidence.quote
        assert statement.evidence.quote.strip()


def test_the_underlined_title_of_a_docstring_is_no_sentence(make_passage: Make) -> None:
    passage = make_passage("a.py", '"""\na.py\n~~~~\n\nKeeps the notes that readers write.\n"""\n')
    assert [item.text for item in code_statements(passage)] == ["Keeps the notes that readers write."]


def test_a_licence_at_the_head_of_a_file_is_no_statement(make_passage: Make) -> None:
    text = "/*!\n * parcel\n * Copyright(c) 2009 A. Person\n * MIT Licensed\n */\n\n'use strict';\n"
    assert list(code_statements(make_passage("a.js", text))) == []


def test_a_constant_without_documentation_is_shown_with_its_value(make_passage: Make) -> None:
    statement = next(iter(code_statements(make_passage("a.py", "TAX_RATE = 0.2\n"))))
    assert readable(statement) == "`a.py` defines `TAX_RATE`: `TAX_RATE = 0.2`."


def test_the_name_of_a_window_is_not_shown_as_a_symbol(make_passage: Make) -> None:
    statement = next(iter(code_statements(make_passage("a.js", "// Wires the parts together.\n", symbol="app, db"))))
    assert readable(statement) == "`a.js`: Wires the parts together."
