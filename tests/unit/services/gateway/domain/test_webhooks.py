from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook

from morningai.errors import InvalidInput
from services.gateway.domain.webhooks import (
    Outcome,
    Target,
    check_content,
    retry_delay,
    secret_text,
    signature_header,
    target_of,
)

TYPES = frozenset({"task.failed", "task.succeeded"})
WEBHOOK_ID = UUID(int=7)
DELAYS = (5, 300, 1800)


def test_the_signature_is_the_one_that_receivers_compute() -> None:
    signed = signature_header([b"k" * 32], webhook_id=WEBHOOK_ID, timestamp=1700000000, body='{"a":"ö"}')
    expected = Webhook(secret_text(b"k" * 32)).sign(
        str(WEBHOOK_ID), datetime.fromtimestamp(1700000000, tz=UTC), '{"a":"ö"}'
    )
    assert signed == expected


def test_every_secret_signs() -> None:
    both = signature_header([b"a" * 32, b"b" * 32], webhook_id=WEBHOOK_ID, timestamp=1, body="{}")
    alone = [signature_header([key], webhook_id=WEBHOOK_ID, timestamp=1, body="{}") for key in (b"a" * 32, b"b" * 32)]
    assert both.split(" ") == alone


URLS = {
    "https://example.org": Target("https", "example.org", 443, "/"),
    "https://Example.org:8443/a?b=c": Target("https", "example.org", 8443, "/a?b=c"),
    "http://[2001:db8::1]/x": Target("http", "2001:db8::1", 80, "/x"),
}


@pytest.mark.parametrize("url", URLS)
def test_an_address_has_its_parts(url: str) -> None:
    assert target_of(url) == URLS[url]


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (Target("https", "a.example", 443, "/"), "a.example"),
        (Target("https", "a.example", 80, "/"), "a.example:80"),
        (Target("http", "2001:db8::1", 8080, "/"), "[2001:db8::1]:8080"),
    ],
)
def test_the_host_header_names_the_port_where_it_is_not_the_usual_one(target: Target, authority: str) -> None:
    assert target.authority == authority


def test_a_type_that_is_named_twice_is_kept_once() -> None:
    content = check_content(
        url="https://a.example/", event_types=["task.failed", "task.failed"], description="", public_types=TYPES
    )
    assert content.event_types == ("task.failed",)


def test_an_unknown_type_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"'task\.requested' comes to no webhook") as refused:
        check_content(url="https://a.example/", event_types=["task.requested"], description="", public_types=TYPES)
    assert refused.value.remedy == "Use task.failed, task.succeeded, or none for all of them."


@pytest.mark.parametrize(("attempt", "delay"), [(1, 5), (2, 300), (3, 1800), (4, None), (9, None)])
def test_tries_are_further_and_further_apart_and_end(attempt: int, delay: float | None) -> None:
    assert retry_delay(attempt, DELAYS, jitter=0.0) == delay


def test_jitter_adds_up_to_a_fifth() -> None:
    assert retry_delay(2, DELAYS, jitter=1.0) == pytest.approx(360)


@pytest.mark.parametrize(
    ("outcome", "succeeded"),
    [
        (Outcome(200), True),
        (Outcome(299), True),
        (Outcome(300), False),
        (Outcome(199), False),
        (Outcome(200, error="x"), False),
        (Outcome(), False),
    ],
)
def test_only_an_answer_of_200_to_299_is_a_success(outcome: Outcome, succeeded: bool) -> None:
    assert outcome.succeeded is succeeded
