from __future__ import annotations

import grpc
import pytest

from morningai.errors import NotFound, Permanent, Unavailable
from morningai.rpc.channel import error_of

NO_METADATA = grpc.aio.Metadata()


def failed(code):
    return grpc.aio.AioRpcError(code, NO_METADATA, NO_METADATA, details="what happened")


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"])
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
