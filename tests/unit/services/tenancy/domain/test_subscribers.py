from __future__ import annotations

from uuid import UUID

import pytest

from services.tenancy.domain.subscribers import (
    Connection,
    Subscriber,
    connections_to_end,
)

MOST = 32
A, B = Subscriber(UUID(int=1), "mk_a"), Subscriber(UUID(int=2), "mk_b")
A_TOO = Subscriber(UUID(int=1), "mk_c")


def connections(subscriber: Subscriber, count: int, *, first: int = 0) -> list[Connection]:
    return [Connection("N1", first + number, subscriber) for number in range(count)]


def test_a_subscriber_is_named_as_the_bus_names_it():
    assert Subscriber.parse(str(A)) == A


@pytest.mark.parametrize(
    "name", ["", "/", "mk_a", f"{UUID(int=1)}", f"{UUID(int=1)}/a.b", f"{UUID(int=1)}/>", "x/mk_a"]
)
def test_another_name_is_no_subscriber_s(name):
    with pytest.raises(ValueError, match="no subscriber"):
        Subscriber.parse(name)


def test_who_may_not_stay_is_ended_and_nobody_else():
    assert connections_to_end([*connections(A, 2), *connections(B, 1)], {B}, most_of_a_tenant=MOST) == connections(A, 2)


def test_the_newest_of_too_many_of_a_tenant_are_ended_whatever_their_keys():
    kept = connections(A, MOST)
    late = connections(A_TOO, 2, first=100)
    assert connections_to_end([*late, *kept, *connections(B, 1)], {A, A_TOO, B}, most_of_a_tenant=MOST) == late


def test_those_that_may_not_stay_take_nobody_s_place():
    gone, kept = connections(A_TOO, 5), connections(A, MOST, first=100)
    assert connections_to_end([*gone, *kept], {A}, most_of_a_tenant=MOST) == gone
