from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.integration.docs.library import Library, open_library

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant

COMMIT = "c" * 40
LATER = "d" * 40
FILES = {
    "README.md": "# Weather\n\nTells the weather.\n\n## Storage\n\nObservations are kept in PostgreSQL.\n",
    "weather/service.py": 'class ForecastService:\n    """Answers."""\n\n    def predict(self):\n        return 1\n',
    "weather/__main__.py": '"""Serves forecasts."""\n\nprint("up")\n',
}


@pytest.fixture
def library(database: TestDatabase, tenant: TestTenant) -> Iterator[Library]:
    with open_library(database.dsn("docs_app"), tenant.grant()) as opened:
        yield opened


def paths(rows: list[dict[str, object]]) -> list[object]:
    return [row["path"] for row in rows]


def test_a_question_finds_the_passage_that_shares_a_word(library: Library) -> None:
    snapshot = library.index("weather", COMMIT, FILES)
    first = library.search(snapshot, "Where are the observations stored?")[0]
    assert (first["path"], first["symbol"], first["commit"]) == ("README.md", "Weather > Storage", COMMIT)
    assert first["text"] == "## Storage\n\nObservations are kept in PostgreSQL."
    assert (first["start_line"], first["end_line"]) == (5, 7)


@pytest.mark.parametrize("query", ["forecast", "forecastService", "forecast_service", "the Forecast.Service?"])
def test_an_identifier_is_found_by_its_words(library: Library, query: str) -> None:
    snapshot = library.index("weather", COMMIT, FILES)
    assert library.search(snapshot, query)[0]["path"] == "weather/service.py"


@pytest.mark.parametrize("query", ["", "  ", "what is the of", "'; DROP TABLE chunks; --", "' | !x & \\ <-> :*", "\\'"])
def test_a_query_of_stop_words_or_operators_is_harmless(library: Library, query: str) -> None:
    snapshot = library.index("weather", COMMIT, FILES)
    assert library.search(snapshot, query) == []


def test_a_file_that_changed_is_found_as_it_is_at_each_commit(library: Library) -> None:
    before = library.index("weather", COMMIT, FILES)
    after = library.index("weather", LATER, {**FILES, "README.md": "# Weather\n\nObservations are in SQLite now.\n"})
    assert "PostgreSQL" in library.search(before, "observations")[0]["text"]
    assert [row["text"] for row in library.search(after, "observations")] == [
        "# Weather\n\nObservations are in SQLite now."
    ]


def test_only_changed_files_are_read_again(library: Library) -> None:
    library.index("weather", COMMIT, FILES)
    count = len(library.connection.execute("SELECT FROM chunks").fetchall())
    library.index("weather", LATER, {**FILES, "NEW.md": "# New\n"})
    assert len(library.connection.execute("SELECT FROM chunks").fetchall()) == count + 1


def test_a_snapshot_counts_its_files_and_chunks(library: Library) -> None:
    library.index("weather", COMMIT, FILES)
    library.run("mark_source_indexed", source_id="weather", commit=COMMIT, bundle_digest=None)
    source = library.run("get_source", source_id="weather")[0]
    assert (source["file_count"], source["chunk_count"], source["commit"]) == (3, 4, COMMIT)


def test_a_snapshot_that_is_not_ready_is_not_searched(library: Library) -> None:
    snapshot = library.index("weather", COMMIT, FILES)
    library.connection.execute("UPDATE snapshots SET state = 'indexing', ready_at = NULL")
    assert library.search(snapshot, "weather") == []


def test_facts_carry_the_commit(library: Library) -> None:
    snapshot = library.index("weather", COMMIT, FILES)
    facts = library.run("list_facts", snapshot_id=snapshot)
    assert [(fact["kind"], fact["name"], fact["commit"]) for fact in facts] == [
        ("heading", "Weather", COMMIT),
        ("heading", "Storage", COMMIT),
        ("service", "weather", COMMIT),
    ]


def test_all_of_the_readme_comes_before_the_heads_of_the_other_files(library: Library) -> None:
    snapshot = library.index("weather", COMMIT, FILES)
    heads = library.run("list_first_chunks", snapshot_id=snapshot, per_file=1, limit=10)
    assert paths(heads) == ["README.md", "README.md", "weather/__main__.py", "weather/service.py"]
    assert [head["start_line"] for head in heads[:2]] == sorted(head["start_line"] for head in heads[:2])


def test_a_deleted_source_leaves_nothing(library: Library) -> None:
    library.index("weather", COMMIT, FILES)
    library.connection.execute("DELETE FROM sources")
    for table in ("snapshots", "files", "blobs", "chunks", "facts"):
        assert library.connection.execute(f"SELECT FROM {table}").fetchall() == []


@pytest.fixture
def foreign_snapshot(database: TestDatabase, tenant: TestTenant) -> str:
    """A snapshot of the first tenant, committed."""
    with open_library(database.dsn("docs_app"), tenant.grant()) as opened:
        return opened.index("weather", COMMIT, FILES)


def test_another_tenant_finds_nothing_with_the_snapshots_id(database: TestDatabase, foreign_snapshot: str) -> None:
    other = database.create_tenant("other")
    with open_library(database.dsn("docs_app"), other.grant()) as opened:
        own = opened.index("weather", COMMIT, {"own.md": "# Weather of others\n"})
        assert opened.search(foreign_snapshot, "weather observations forecast") == []
        assert paths(opened.search(own, "weather observations forecast")) == ["own.md"]
        assert opened.run("list_facts", snapshot_id=foreign_snapshot) == []
        overview = {"snapshot_id": foreign_snapshot, "per_file": 2, "limit": 10}
        assert opened.run("list_first_chunks", **overview) == []


def test_without_a_proof_search_finds_nothing(database: TestDatabase, foreign_snapshot: str) -> None:
    with open_library(database.dsn("docs_app"), None) as opened:
        assert opened.search(foreign_snapshot, "weather") == []


def test_a_forged_proof_finds_nothing(database: TestDatabase, tenant: TestTenant, foreign_snapshot: str) -> None:
    forged = tenant.grant()[:-4] + "beef"
    with open_library(database.dsn("docs_app"), None) as opened:
        opened.connection.execute("SELECT set_config('morningai.proof', %s, true)", (forged,))
        assert opened.search(foreign_snapshot, "weather") == []


@pytest.mark.parametrize("login", ["faqgen_app", "codegen_app", "docs_relay"])
def test_another_login_may_not_search(database: TestDatabase, foreign_snapshot: str, login: str) -> None:
    with psycopg.connect(database.dsn(login)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM docs.search_chunks(%s, 'weather', 5)", (foreign_snapshot,))


def test_search_uses_the_index_for_tenant_source_and_words(database: TestDatabase, tenant: TestTenant) -> None:
    many = {f"part{n}/file{n}.md": f"# Part {n}\n\nword{n} and word{n + 1}.\n" for n in range(3000)}
    with open_library(database.dsn("docs_app"), tenant.grant()) as opened:
        snapshot = opened.index("weather", COMMIT, many)
    plan = explained_search(database, tenant.grant(), snapshot, "word77")
    assert "Bitmap Index Scan on chunks_search" in plan
    condition = next(line for line in plan.splitlines() if "Index Cond" in line and "search" in line)
    assert "tenant_id" in condition
    assert "source_id" in condition
    assert "Seq Scan" not in plan


def explained_search(database: TestDatabase, proof: str, snapshot: str, query: str) -> str:
    """The plan of the statement inside the function, as PostgreSQL ran it for the service's login."""
    plans: list[str] = []
    with psycopg.connect(database.admin_dsn, row_factory=dict_row) as connection:
        connection.execute("ANALYZE docs.chunks, docs.files")
        connection.execute("LOAD 'auto_explain'")
        connection.execute("SET auto_explain.log_min_duration = 0")
        connection.execute("SET auto_explain.log_nested_statements = on")
        connection.execute("SET auto_explain.log_level = notice")
        connection.execute("SET search_path = docs")
        connection.execute("SET SESSION AUTHORIZATION docs_app")
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        connection.execute("SELECT kernel.open_session(%s)", (proof,))
        assert connection.execute("SELECT current_user AS login").fetchone() == {"login": "docs_app"}
        assert Library(connection).search(snapshot, query)
    return next(plan for plan in plans if "ts_rank" in plan)
