"""A run of the usual length delivers its share of changes, and every kind of decision is in it."""

from __future__ import annotations

from tests.chaos.load import TENANTS, UNASKED_TENANT, make_orders

ORDERS = make_orders(7, 300)
DELIVERED = [order for order in ORDERS if order.delivers]


def test_the_same_seed_is_the_same_load():
    assert make_orders(7, 300) == ORDERS


def test_a_fixed_share_is_delivered_by_every_tenant():
    assert 0.05 <= len(DELIVERED) / len(ORDERS) <= 0.1
    assert {order.tenant for order in DELIVERED} == set(range(TENANTS))


def test_some_are_approved_some_rejected_and_some_cancelled_late():
    asked = [order.rejects for order in DELIVERED if order.tenant != UNASKED_TENANT and order.cancels_after is None]
    assert set(asked) == {True, False}
    assert any(order.cancels_after for order in DELIVERED)


def test_branches_are_of_a_name_of_their_own_or_of_the_task_s():
    assert {bool(order.delivery.branch) for order in DELIVERED} == {True, False}
    assert all(order.delivery is None for order in ORDERS if not order.delivers)
