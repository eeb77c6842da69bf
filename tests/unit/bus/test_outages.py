from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout

from morningai.bus.outages import outage_of
from morningai.errors import Outage, Retryable, Unavailable

LOST = [
    psycopg.OperationalError("connection to server on socket /tmp/secret/.s.PGSQL.5432 failed"),
    errors.AdminShutdown(),
    errors.CannotConnectNow(),
    errors.TooManyConnections(),
    errors.ConnectionFailure(),
    errors.IdleInTransactionSessionTimeout(),
    PoolTimeout("no connection"),
]
OF_THE_WORK = [
    errors.DeadlockDetected(),
    errors.SerializationFailure(),
    errors.QueryCanceled(),
    errors.UniqueViolation(),
    psycopg.InterfaceError("wrong use"),
    Unavailable("The model does not answer."),
    Retryable("Not yet."),
    TimeoutError(),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_database_that_is_lost_is_an_outage_that_names_no_socket(error):
    assert str(outage_of(error)) == "The database does not answer."


def test_a_peer_that_is_away_is_named():
    outage = Outage("docs does not answer.")
    assert outage_of(outage) is outage


@pytest.mark.parametrize("error", OF_THE_WORK, ids=lambda error: type(error).__name__)
def test_what_is_the_work_s_own_is_no_outage(error):
    assert outage_of(error) is None
