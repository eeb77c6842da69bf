from __future__ import annotations

from uuid import UUID

import pytest

from morningai.errors import QuotaExceeded
from services.tenancy.domain.subscribers import Connection, Subscriber
from services.tenancy.subscribers.roll import ENTERING_SECONDS, Roll

A, B = UUID(int=1), UUID(int=2)


def connection(number: int, *, tenant: UUID = A, key: str = "mk_a") -> Connection:
    return Connection("N1", number, Subscriber(tenant, key))


@pytest.fixture
def roll():
    return Roll(most_connections=2, most_durables=2)


def test_a_tenant_s_last_place_is_given_once(roll):
    roll.enter(connection(1))
    roll.enter(connection(2))
    roll.enter(connection(3, tenant=B))
    with pytest.raises(QuotaExceeded, match="2 connections"):
        roll.enter(connection(4))


def test_the_same_connection_is_counted_once(roll):
    for _ in range(3):
        roll.enter(connection(1))
    roll.enter(connection(2))


def test_who_leaves_makes_room(roll):
    roll.enter(connection(1))
    roll.enter(connection(2))
    roll.leave(("N1", 1))
    roll.enter(connection(3))


def test_what_the_servers_tell_counts(roll):
    roll.see_connections([connection(1), connection(2)], begun_at=roll.begin_look())
    with pytest.raises(QuotaExceeded):
        roll.enter(connection(3))


def test_who_just_came_in_counts_though_the_servers_do_not_tell_of_it_yet(roll):
    roll.enter(connection(1))
    roll.see_connections([connection(2)], begun_at=roll.begin_look())
    with pytest.raises(QuotaExceeded):
        roll.enter(connection(3))


def test_who_was_let_in_and_never_came_makes_room(roll):
    roll.enter(connection(1))
    roll.enter(connection(2))
    roll.see_connections([], begun_at=roll.begin_look() + ENTERING_SECONDS)
    roll.enter(connection(3))
    roll.enter(connection(4))


def test_who_left_while_the_servers_were_asked_does_not_count(roll):
    begun_at = roll.begin_look()
    roll.leave(("N1", 1))
    roll.see_connections([connection(1)], begun_at=begun_at)
    roll.enter(connection(2))
    roll.enter(connection(3))


def test_a_tenant_s_keys_have_a_limited_number_of_durables(roll):
    roll.see_durables([Subscriber(A, "mk_a"), Subscriber(A, "mk_b")], begun_at=roll.begin_look())
    with pytest.raises(QuotaExceeded, match=r"2 keys .* Revoke"):
        roll.enter(connection(1, key="mk_c"))
    roll.enter(connection(2, key="mk_a"))
    roll.enter(connection(3, key="mk_c", tenant=B))


def test_a_removed_durable_makes_room(roll):
    roll.see_durables([Subscriber(A, "mk_a"), Subscriber(A, "mk_b")], begun_at=roll.begin_look())
    roll.remove(Subscriber(A, "mk_a"))
    roll.enter(connection(1, key="mk_c"))
