from __future__ import annotations

import base64
import json
from datetime import datetime

import pytest

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.errors import InvalidInput
from morningai.rpc.pages import page_limit, page_of, read_token, write_token

SOURCES = [sources.Source(name=f"sources/{number}", repository="x" * 80) for number in range(4)]
SIZE = SOURCES[0].ByteSize()


def token_of(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(("size", "limit"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
def test_a_page_has_at_most_its_largest_size(size, limit):
    assert page_limit(size, most=200) == limit


def test_a_negative_page_is_refused():
    with pytest.raises(InvalidInput, match="Use 1 to 200"):
        page_limit(-1, most=200)


@pytest.mark.parametrize(
    ("limit", "most_bytes", "count"), [(3, 10**6, 3), (9, 10**6, 4), (9, 2 * SIZE, 2), (9, 2 * SIZE - 1, 1), (9, 1, 1)]
)
def test_a_page_is_bounded_by_rows_and_bytes_and_never_empty(limit, most_bytes, count):
    assert page_of(SOURCES, limit, most_bytes=most_bytes) == SOURCES[:count]


def test_a_token_is_read_by_its_own_listing():
    token = write_token("tasks", datetime(2026, 1, 2), 7)
    read = read_token(token, "tasks", lambda time, number: (datetime.fromisoformat(time), int(number)))
    assert read == (datetime(2026, 1, 2), 7)


def test_no_token_is_the_first_page():
    assert read_token("", "tasks", int) is None


@pytest.mark.parametrize(
    "token",
    [
        write_token("sources", 7),
        write_token("tasks", "seven"),
        write_token("tasks"),
        write_token("tasks", 7, 7),
        token_of(["tasks", 7]),
        token_of(["tasks", ["7"]]),
        token_of([]),
        token_of("tasks"),
        token_of(7),
        token_of(None),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff").decode(),
        write_token("tasks", 7)[:-1],
        write_token("tasks", 7) + "!",
        "nonsense",
        "ü",
        "=",
        "x" * 100_000,
    ],
)
def test_any_other_token_is_refused(token):
    with pytest.raises(InvalidInput) as refused:
        read_token(token, "tasks", lambda number: int(number))
    assert refused.value.field == "page_token"
    assert refused.value.remedy
