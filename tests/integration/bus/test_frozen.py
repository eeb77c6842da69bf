"""A process that is frozen, as by SIGSTOP, holds up nobody for long: neither by its relay nor by a transaction."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from morningai.bus.permissions import inbox_prefix
from morningai.bus.work import Long
from tests.conftest import PASSWORD
from tests.integration.bus.test_settle import codegen, finish_with, orchestrator, send
from tests.integration.bus.test_stalls import LEASES, VERIFIED

RELAY = """
import asyncio, sys
import nats
from morningai.bus.relay import Relay

async def main(dsn, url, password, prefix):
    client = await nats.connect(url, user="orchestrator", password=password, inbox_prefix=prefix.encode())
    relay = Relay("orchestrator", dsn, client.jetstream())
    running = asyncio.create_task(relay.run())
    while not relay.active:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await running

asyncio.run(main(*sys.argv[1:]))
"""
TRANSACTION = """
import asyncio, sys
from morningai.db.session import Database

async def main(dsn, proof):
    database = Database(dsn)
    await database.open()
    async with database.tenant_session(proof) as session:
        await session.execute("SELECT pg_advisory_xact_lock(1)")
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""
LOGINS = ("orchestrator_app", "orchestrator_relay", "gateway_sender")


@contextmanager
def frozen(script, *arguments):
    """A process that was stopped once it said that it is ready."""
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.kill()


async def test_the_relay_of_another_replica_takes_over_from_a_frozen_one(
    start_service, tenant, database, nats_url, eventually
):
    async def work(work, message):
        return finish_with(work, VERIFIED)

    await start_service("codegen", codegen(Long(work)))
    with frozen(RELAY, database.dsn("orchestrator_relay"), nats_url, PASSWORD, inbox_prefix("orchestrator")):
        other = await start_service("orchestrator", orchestrator())
        await send(other, tenant)
        await asyncio.sleep(1)
        assert not other.relay.active
        await eventually(lambda: database.rows(LEASES) == [("finished", 1)], seconds=30)


def test_a_frozen_transaction_frees_what_it_locked(database, tenant):
    login = make_conninfo(database.dsn("gateway_app"), options="-c idle_in_transaction_session_timeout=1s")
    patient = make_conninfo(database.admin_dsn, options="-c lock_timeout=10s")
    with frozen(TRANSACTION, login, tenant.grant()), psycopg.connect(patient) as other:
        other.execute("SELECT pg_advisory_xact_lock(1)")


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_may_leave_a_transaction_idle_for_long(database, login):
    with psycopg.connect(database.dsn(login)) as connection:
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("30s",)
