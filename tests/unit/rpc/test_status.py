from __future__ import annotations

import asyncio
from urllib.parse import quote

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, QuotaFailure, ResourceInfo, RetryInfo

from morningai import errors
from morningai.rpc.status import abort, code_of, field_violations, limit_of, reason_of, remedy_of, status_of

TOO_FAST = errors.RateLimited("read_calls", "Too fast.", remedy="Wait.", retry_after_seconds=0.5)
FULL = errors.QuotaExceeded("sources", "Full.", remedy="Ask.")
CASES = [
    (errors.InvalidInput("task.kinds", "is empty.", remedy="Name one."), "INVALID_ARGUMENT", "INVALID_INPUT"),
    (errors.NotFound("task", "tasks/1", remedy="List them."), "NOT_FOUND", "NOT_FOUND"),
    (errors.AlreadyExists("tenant", "acme"), "ALREADY_EXISTS", "ALREADY_EXISTS"),
    (errors.FailedPrecondition("It has ended."), "FAILED_PRECONDITION", "FAILED_PRECONDITION"),
    (errors.StepFailure("sandbox_unavailable", "No sandbox."), "FAILED_PRECONDITION", "sandbox_unavailable"),
    (errors.Unauthenticated("No key."), "UNAUTHENTICATED", "UNAUTHENTICATED"),
    (errors.PermissionDenied("No scope."), "PERMISSION_DENIED", "PERMISSION_DENIED"),
    (FULL, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    (errors.Conflict("Again."), "ABORTED", "CONFLICT"),
    (errors.Unavailable("Away."), "UNAVAILABLE", "UNAVAILABLE"),
    (TOO_FAST, "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
    (errors.Retryable("Later."), "UNAVAILABLE", "RETRYABLE"),
    (errors.Permanent("No."), "INTERNAL", "PERMANENT"),
    (errors.Poison("Never."), "INTERNAL", "POISON"),
    (errors.MorningAIError("Odd."), "INTERNAL", "INTERNAL"),
]


def details(error, kind):
    found = []
    for packed in status_of(error).details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize(("error", "code", "reason"), CASES, ids=lambda value: type(value).__name__)
def test_an_error_has_its_code_and_its_reason(error, code, reason):
    assert code_of(error).name == code
    assert status_of(error).code == grpc.StatusCode[code].value[0]
    assert status_of(error).message == str(error)
    (info,) = details(error, ErrorInfo)
    assert (info.reason, info.domain, info.metadata["remedy"]) == (reason, "morningai", error.remedy)


def test_a_wrong_field_is_named_with_its_remedy():
    (bad,) = details(CASES[0][0], BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [("task.kinds", "is empty. Name one.")]


@pytest.mark.parametrize(("error", "name"), [(CASES[1][0], "tasks/1"), (CASES[2][0], "acme")])
def test_a_resource_is_named(error, name):
    (info,) = details(error, ResourceInfo)
    assert (info.resource_type, info.resource_name) == (error.resource, name)


@pytest.mark.parametrize(("given", "seconds"), [(None, 1.0), (0.25, 0.25), (90.0, 90.0)])
def test_a_retryable_error_says_when(given, seconds):
    (info,) = details(errors.Retryable("Later.", retry_after_seconds=given), RetryInfo)
    assert info.retry_delay.ToNanoseconds() == seconds * 1e9


@pytest.mark.parametrize("error", [case[0] for case in CASES if not isinstance(case[0], errors.Retryable)])
def test_a_final_error_does_not_say_when(error):
    assert details(error, RetryInfo) == []


@pytest.mark.parametrize("error", [TOO_FAST, FULL])
def test_a_limit_is_named(error):
    (failure,) = details(error, QuotaFailure)
    assert [(v.subject, v.description) for v in failure.violations] == [(error.limit, error.message)]
    assert limit_of(FailedCall(error)) == error.limit


def test_a_remedy_is_a_help_for_people():
    (shown,) = details(CASES[1][0], Help)
    assert [link.description for link in shown.links] == ["List them."]
    assert details(CASES[2][0], Help) == []


class FailedCall(grpc.RpcError):
    """What a client holds after a call that ended with a status."""

    def __init__(self, error):
        self._status = status_of(error)

    def code(self):
        return next(code for code in grpc.StatusCode if code.value[0] == self._status.code)

    def details(self):
        return self._status.message

    def trailing_metadata(self):
        return (("grpc-status-details-bin", self._status.SerializeToString()),)


def test_a_client_reads_field_reason_and_remedy():
    call = FailedCall(CASES[0][0])
    assert field_violations(call) == [("task.kinds", "is empty. Name one.")]
    assert (reason_of(call), remedy_of(call)) == ("INVALID_INPUT", "Name one.")


def test_a_client_finds_nothing_in_an_error_without_details():
    call = FailedCall(errors.Conflict("Again."))
    assert (field_violations(call), remedy_of(call)) == ([], "")


@pytest.mark.parametrize("text", ["x" * 100_000, "日" * 100_000, "\ud800\x00" * 100_000])
def test_a_status_fits_into_the_metadata_that_grpc_takes_and_keeps_its_remedy(text):
    status = status_of(errors.NotFound("task", text, remedy="List them."))
    assert len(quote(status.message)) + len(status.SerializeToString()) * 4 / 3 < 8_000
    assert status.message.endswith("List them.")


async def test_what_is_said_to_a_caller_who_has_gone_ends_the_call_as_its_cancellation_would():
    class Gone:
        async def abort(self, *_: object) -> None:
            raise grpc.aio.InternalError("Failed execute_batch")

    with pytest.raises(asyncio.CancelledError):
        await abort(Gone(), errors.NotFound("task", "tasks/1"))
