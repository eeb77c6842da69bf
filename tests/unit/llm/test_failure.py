from __future__ import annotations

import httpx2
import pytest
from openai import APIStatusError

from morningai.llm.failure import Backoff, is_context_overflow, is_retryable, refusal_of, retry_after_seconds
from morningai.llm.settings import PLATFORM_NAMES, TENANT_NAMES

NOW = 1_800_000_000.0


def status_error(status: int, *, retry_after: str | None = None, body: object = None) -> APIStatusError:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("POST", "http://model/v1"))
    return APIStatusError(f"HTTP status {status}", response=response, body=body)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_retried(status: int) -> None:
    assert is_retryable(status_error(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_status_that_will_not_pass_is_not_retried(status: int) -> None:
    assert not is_retryable(status_error(status))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0), ("soon", None), (None, None)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(status_error(429, retry_after=header), now=NOW) == seconds


@pytest.mark.parametrize(("attempt", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (9, 4.0)])
def test_the_wait_doubles_up_to_its_longest(attempt: int, bound: float) -> None:
    waits = [Backoff(0.5, 4.0).wait_seconds(attempt) for _ in range(200)]

    assert 0.6 * bound < max(waits) <= bound
    assert min(waits) < 0.4 * bound


def test_a_complaint_about_the_context_is_recognised() -> None:
    body = {"message": "This model's maximum context length is 4096 tokens.", "code": "context_length_exceeded"}

    assert is_context_overflow(status_error(400, body=body))
    assert not is_context_overflow(status_error(400, body={"message": "no such tool"}))
    assert not is_context_overflow(status_error(500, body=body))


def test_a_refusal_says_what_to_change() -> None:
    assert "MORNINGAI_MODEL_NAME" in refusal_of(status_error(404), PLATFORM_NAMES).remedy


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_a_tenants_endpoint_says_nothing_of_the_platforms_settings(status: int) -> None:
    remedy = refusal_of(status_error(status), TENANT_NAMES).remedy
    assert "`morningai model endpoint set`" in remedy
    assert "_" not in remedy
