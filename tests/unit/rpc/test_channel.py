from __future__ import annotations

import grpc
import pytest
from grpc_status import rpc_status

from morningai.errors import MorningAIError, NotFound, Outage, Permanent, Retryable, Unavailable
from morningai.rpc.channel import error_of
from morningai.rpc.status import status_of

NO_METADATA = grpc.aio.Metadata()


def failed(code):
    return grpc.aio.AioRpcError(code, NO_METADATA, NO_METADATA, details="what happened")


def refused(error: MorningAIError):
    """As a server of ours says it."""
    status = rpc_status.to_status(status_of(error))
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, NO_METADATA, trailing, details=status.details)


def test_a_service_that_cannot_be_reached_is_an_outage_that_names_no_address():
    error = error_of(failed(grpc.StatusCode.UNAVAILABLE), peer="docs")
    assert isinstance(error, Outage)
    assert str(error) == "docs does not answer."


def test_a_service_whose_own_database_is_away_is_an_outage():
    error = error_of(refused(Unavailable("The database does not answer.")), peer="docs")
    assert isinstance(error, Outage)
    assert str(error) == "docs: The database does not answer."


def test_a_service_that_asks_for_another_try_is_there():
    error = error_of(refused(Retryable("Not yet.")), peer="docs")
    assert isinstance(error, Unavailable)
    assert not isinstance(error, Outage)


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"])
def test_a_transient_code_is_retryable(code):
    error = error_of(failed(grpc.StatusCode[code]), peer="docs")
    assert isinstance(error, Unavailable)
    assert str(error) == "docs: what happened"


def test_not_found_stays_not_found():
    assert isinstance(error_of(failed(grpc.StatusCode.NOT_FOUND), peer="docs"), NotFound)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "PERMISSION_DENIED", "INTERNAL", "UNIMPLEMENTED"])
def test_any_other_code_is_final(code):
    error = error_of(failed(grpc.StatusCode[code]), peer="docs")
    assert isinstance(error, Permanent)
    assert not isinstance(error, NotFound)
