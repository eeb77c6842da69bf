"""How long a proof is good, and who can make one: seals end with their tasks, keys are replaced while all goes on."""

from __future__ import annotations

import json
from uuid import uuid4

import psycopg
import pytest

from morningai.cli.exit_code import ExitCode
from morningai.cli.main import run
from morningai.db.proof_keys import list_proof_keys, retire_proof_key, rotate_proof_key
from morningai.db.session import Database
from morningai.errors import FailedPrecondition, NotFound, TaskEnded
from tests.isolation.checks import end_task, opens, outbox_takes, send
from tests.isolation.tables import APP_LOGINS

FACT = "morningai.event.t.task.requested"


@pytest.fixture
def sealed_fact(weakened):
    task_id = uuid4()
    with psycopg.connect(weakened.database.dsn("gateway_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (weakened.a.grant(),))
        message_id = send(connection, task_id, subject=FACT)
    seal = weakened.database.rows("SELECT seal FROM gateway.outbox WHERE id = %s", message_id)[0][0]
    return weakened, task_id, str(seal)


def test_a_command_s_seal_is_good_for_minutes_after_its_task(sealed):
    world, _, task_id, seal = sealed
    end_task(world, task_id, "9 minutes")
    assert opens(world, seal)
    end_task(world, task_id, "11 minutes")
    assert not opens(world, seal)


def test_a_fact_s_seal_is_good_for_as_long_as_the_bus_keeps_it(sealed_fact):
    world, task_id, seal = sealed_fact
    end_task(world, task_id, "7 days")
    assert opens(world, seal)
    end_task(world, task_id, "9 days")
    assert not opens(world, seal)


def test_no_task_is_open_for_ever(sealed):
    world, _, _task_id, seal = sealed
    world.database.rows("UPDATE kernel.tasks SET opened_at = now() - interval '31 days' RETURNING 1")
    assert not opens(world, seal)


def test_the_end_of_another_tenant_s_task_of_the_same_id_ends_nothing(sealed):
    world, _, task_id, seal = sealed
    world.b.open_task(task_id)
    with world.session("orchestrator_app", world.b.grant()) as connection:
        connection.execute("SELECT kernel.close_task(%s)", (task_id,))
        connection.commit()
    closed = "SELECT tenant_id FROM kernel.tasks WHERE task_id = %s AND closed_at IS NOT NULL"
    assert world.database.rows(closed, task_id) == [(world.b.tenant_id,)]
    assert opens(world, seal)


@pytest.mark.parametrize("login", [login for login in APP_LOGINS if login != "orchestrator_app"])
def test_the_orchestrator_alone_ends_tasks(sealed, login):
    world, _, task_id, seal = sealed
    with world.session(login, seal) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT kernel.close_task(%s)", (task_id,))


async def test_a_session_says_that_the_task_has_ended(sealed):
    world, _, task_id, seal = sealed
    end_task(world, task_id, "1 hour")
    database = Database(world.database.dsn("docs_app"))
    await database.open()
    with pytest.raises(TaskEnded):
        async with database.tenant_session(seal):
            pass
    await database.close()


def test_the_gateway_alone_opens_tasks(world):
    assert not outbox_takes(world, world.a.grant(), uuid4())
    assert outbox_takes(world, world.a.grant(), world.a.open_task(uuid4()))


@pytest.mark.parametrize("principal", ["key:a|b", "key:a|x,y"])
def test_a_principal_with_a_separator_gets_no_proof(world, principal):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        world.database.rows("SELECT kernel.mint_grant(%s, %s, ARRAY['a'])", world.a.tenant_id, principal)


@pytest.mark.parametrize("scope", ["a|b", "tasks.read,operator"])
def test_a_scope_with_a_separator_gets_no_proof(world, scope):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        world.database.rows("SELECT kernel.mint_grant(%s, 'key:a', ARRAY[%s])", world.a.tenant_id, scope)


def test_a_replaced_key_still_verifies_and_a_new_one_signs(sealed):
    world, _, _, seal = sealed
    old_grant = world.a.grant()
    key = rotate_proof_key(world.database.admin_dsn)
    assert (key.key_id, key.state) == ("k2", "minting")
    assert [key.state for key in list_proof_keys(world.database.admin_dsn)] == ["verifying", "minting"]
    assert opens(world, seal)
    assert opens(world, old_grant)
    assert world.a.grant().startswith("k2|")
    assert opens(world, world.a.grant())


def test_a_retired_key_verifies_nothing_and_api_keys_stay_good(sealed):
    world, _, _, seal = sealed
    old_grant = world.a.grant()
    replace_key_long_ago(world)
    retire_proof_key(world.database.admin_dsn, "k1")
    assert not opens(world, seal)
    assert not opens(world, old_grant)
    assert opens(world, world.a.grant())


def test_what_a_retired_key_sealed_is_sealed_and_sent_again(sealed):
    world, message_id, _task_id, seal = sealed
    world.database.rows("UPDATE gateway.outbox SET published_at = now() WHERE id = %s RETURNING 1", message_id)
    replace_key_long_ago(world)
    assert retire_proof_key(world.database.admin_dsn, "k1") > 0
    [(new_seal, published_at)] = world.database.rows(
        "SELECT seal, published_at FROM gateway.outbox WHERE id = %s", message_id
    )
    assert published_at is None
    assert str(new_seal).split("|")[0] == "k2"
    assert str(new_seal).split("|")[1:7] == seal.split("|")[1:7]
    assert opens(world, str(new_seal))


def test_a_fact_of_a_task_that_ended_days_ago_is_sealed_again(sealed_fact):
    world, task_id, _ = sealed_fact
    end_task(world, task_id, "7 days")
    replace_key_long_ago(world)
    retire_proof_key(world.database.admin_dsn, "k1")
    [(seal,)] = world.database.rows("SELECT seal FROM gateway.outbox WHERE task_id = %s", task_id)
    assert opens(world, str(seal))


def test_a_timer_that_was_withdrawn_is_not_sent_again(sealed):
    world, message_id, _, _ = sealed
    timer = "UPDATE gateway.outbox SET published_at = now(), type = %s WHERE id = %s RETURNING 1"
    world.database.rows(timer, "morningai.api.events.v1.StepTimedOut", message_id)
    replace_key_long_ago(world)
    retire_proof_key(world.database.admin_dsn, "k1")
    published = "SELECT published_at IS NOT NULL FROM gateway.outbox WHERE id = %s"
    assert world.database.rows(published, message_id) == [(True,)]


def test_a_message_sent_again_has_a_seal_of_today_s_key(sealed):
    world, message_id, _, seal = sealed
    world.database.rows("UPDATE gateway.outbox SET published_at = now() WHERE id = %s RETURNING 1", message_id)
    rotate_proof_key(world.database.admin_dsn)
    with world.session("gateway_app", seal) as connection:
        connection.execute("UPDATE outbox SET published_at = NULL WHERE id = %s", (message_id,))
        row = connection.execute("SELECT seal FROM outbox WHERE id = %s", (message_id,)).fetchone()
    assert row[0].startswith("k2|s|")


def test_the_key_that_signs_cannot_be_retired(weakened):
    with pytest.raises(FailedPrecondition, match="rotate"):
        retire_proof_key(weakened.database.admin_dsn, "k1")


def test_a_key_replaced_just_now_cannot_be_retired(weakened):
    rotate_proof_key(weakened.database.admin_dsn)
    with pytest.raises(FailedPrecondition, match="five minutes"):
        retire_proof_key(weakened.database.admin_dsn, "k1")


def test_an_unknown_key_cannot_be_retired(weakened):
    with pytest.raises(NotFound, match="k9"):
        retire_proof_key(weakened.database.admin_dsn, "k9")


def test_the_command_shows_replaces_and_retires_keys(weakened, monkeypatch, capsys):
    monkeypatch.setenv("MORNINGAI_ADMIN_DSN", weakened.database.admin_dsn)
    assert run(["proof-key", "rotate"]) == ExitCode.SUCCESS
    assert "k2 signs proofs" in capsys.readouterr().out
    assert run(["proof-key", "retire", "k1", "--json"]) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().err)["error"]["remedy"] == "Try again in five minutes."
    assert run(["proof-key", "list", "--json"]) == ExitCode.SUCCESS
    keys = json.loads(capsys.readouterr().out)["proof_keys"]
    assert [(key["key_id"], key["state"]) for key in keys] == [("k1", "verifying"), ("k2", "minting")]


def replace_key_long_ago(world):
    rotate_proof_key(world.database.admin_dsn)
    world.database.rows(
        "UPDATE kernel.proof_keys SET replaced_at = now() - interval '1 hour' WHERE NOT minting RETURNING 1"
    )
