from __future__ import annotations

import pytest

from morningai.db.queries import Queries, load_queries

TEXT = """-- Rows of a task.

-- name: get_task
SELECT * FROM tasks
WHERE task_id = %(task_id)s

-- name: list_tasks
-- Newest first.
SELECT * FROM tasks ORDER BY created_at DESC;
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "queries.sql").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_statements_are_found_by_name(folder):
    queries = Queries(folder / "queries.sql")
    assert dict(queries) == {
        "get_task": "SELECT * FROM tasks\nWHERE task_id = %(task_id)s",
        "list_tasks": "-- Newest first.\nSELECT * FROM tasks ORDER BY created_at DESC;",
    }
    assert len(queries) == 2


def test_the_file_stands_beside_the_module_that_asks(folder):
    assert "get_task" in load_queries(str(folder / "repository.py"))


def test_an_unknown_name_is_a_key_error(folder):
    with pytest.raises(KeyError):
        Queries(folder / "queries.sql")["get_tasks"]


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "queries.sql"
    path.write_text("-- name: a\nSELECT 1\n-- name: a\nSELECT 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a stands twice"):
        Queries(path)
