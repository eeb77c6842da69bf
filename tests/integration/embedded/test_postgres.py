from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest
import pytest_asyncio

from morningai.embedded.postgres import EmbeddedPostgres, wait_until_ready
from morningai.embedded.process import Command


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    await server.start()
    try:
        await wait_until_ready(server)
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with running(tmp_path / "postgres") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """For tests that neither stop nor start it."""
    async with running(tmp_path_factory.mktemp("pg")) as server:
        yield server


def value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row
        return row[0]


def test_a_new_folder_becomes_a_cluster_of_version_18_that_syncs(settled: EmbeddedPostgres) -> None:
    dsn = settled.admin_dsn()
    assert str(value(dsn, "SHOW server_version")).startswith("18.")
    assert value(dsn, "SHOW fsync") == "on"
    assert value(dsn, "SELECT datlocprovider::text || datlocale FROM pg_database LIMIT 1") == "bC.UTF-8"


def test_its_settings_are_those_of_one_machine(settled: EmbeddedPostgres) -> None:
    names = ("max_connections", "shared_buffers", "jit", "listen_addresses")
    settings = [value(settled.admin_dsn(), f"SHOW {name}") for name in names]
    assert settings == ["150", "64MB", "off", ""]


def test_nobody_gets_in_without_the_password(settled: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        value(settled.dsn("morningai_admin", "guess", "postgres"), "SELECT 1")


def test_it_listens_on_no_port(settled: EmbeddedPostgres) -> None:
    pid = int((settled.cluster / "postmaster.pid").read_text().splitlines()[0])
    listening = [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == []


def test_its_socket_and_password_are_the_owners_alone(settled: EmbeddedPostgres) -> None:
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (settled.sockets, settled.password_file)]
    assert modes == [0o700, 0o600]


def test_a_login_with_an_awkward_password_reaches_its_database(settled: EmbeddedPostgres) -> None:
    with psycopg.connect(settled.admin_dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE docs_app LOGIN PASSWORD 'p@ss/w:rd ?&%'")
    assert value(settled.dsn("docs_app", "p@ss/w:rd ?&%", "postgres"), "SELECT current_user") == "docs_app"


async def test_a_later_start_finds_the_data(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.admin_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await postgres.stop()
    async with running(postgres.folder) as again:
        assert value(again.admin_dsn(), "SELECT answer FROM kept") == 42


async def test_an_interrupted_first_start_is_made_good_by_the_next(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "cluster.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with running(tmp_path / "postgres") as server:
        assert value(server.admin_dsn(), "SELECT 1") == 1


async def test_a_stop_does_not_wait_for_open_connections(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.admin_dsn()) as connection:
        await postgres.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


async def test_a_server_whose_supervisor_record_is_lost_is_still_ended(postgres: EmbeddedPostgres) -> None:
    (postgres.folder / "postgres.child.json").unlink()
    older = int((postgres.cluster / "postmaster.pid").read_text().splitlines()[0])
    async with running(postgres.folder) as again:
        assert int((postgres.cluster / "postmaster.pid").read_text().splitlines()[0]) != older
        assert value(again.admin_dsn(), "SELECT 1") == 1


async def test_a_stale_pid_file_that_names_a_stranger_neither_stops_us_nor_the_stranger(
    postgres: EmbeddedPostgres,
) -> None:
    content = (postgres.cluster / "postmaster.pid").read_text().splitlines()
    await postgres.stop()
    stranger = somebody_elses_process()
    (postgres.cluster / "postmaster.pid").write_text("\n".join([str(stranger.pid), *content[1:]]) + "\n")
    await postgres.start()
    await wait_until_ready(postgres)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


async def test_a_long_folder_works_through_a_short_socket_path(tmp_path: Path) -> None:
    async with running(tmp_path / ("x" * 110) / "postgres") as server:
        assert value(server.admin_dsn(), "SELECT 1") == 1
        assert len(os.fsencode(server.sockets / ".s.PGSQL.5432")) < 107
    server.sockets.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
def test_it_runs_as_an_ordinary_user_too(tmp_path: Path) -> None:
    """A user namespace shows us as uid 1000, which is what the code asks."""
    code = (
        "import asyncio, os, pathlib, sys\n"
        "from morningai.embedded.postgres import EmbeddedPostgres, wait_until_ready\n"
        "async def main():\n"
        "    server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    await wait_until_ready(server)\n"
        "    await server.stop()\n"
        "    print('served', os.geteuid())\n"
        "asyncio.run(main())\n"
    )
    command = Command((sys.executable, "-c", code, str(tmp_path / "postgres")), ordinary_user=True)
    result = subprocess.run(command.launch_arguments(), capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "served 1000\n", result.stderr


def somebody_elses_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
