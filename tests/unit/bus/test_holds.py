from __future__ import annotations

from uuid import UUID

import pytest
from nats.errors import MaxPayloadError

from morningai.bus.holds import LONGEST_OUTAGE_DELAY_SECONDS, Holds

STUCK, OTHER = (UUID(int=1), UUID(int=1)), (UUID(int=1), UUID(int=2))


def delay_after(holds, *, failures, error, others_sent):
    for _ in range(failures):
        if others_sent:
            holds.sent(OTHER)
        holds.failed(STUCK, error)
    return holds.seconds_to_next(most=1000)


def test_a_row_that_fails_while_others_are_sent_is_tried_ever_more_rarely():
    assert delay_after(Holds(), failures=12, error=TimeoutError(), others_sent=True) > 25


def test_a_row_that_the_client_refuses_is_tried_ever_more_rarely():
    assert delay_after(Holds(), failures=12, error=MaxPayloadError(), others_sent=False) > 25


def test_while_the_bus_may_be_away_every_row_is_tried_soon():
    delay = delay_after(Holds(), failures=12, error=TimeoutError(), others_sent=False)
    assert delay <= LONGEST_OUTAGE_DELAY_SECONDS


def test_a_row_that_was_sent_is_held_no_more():
    holds = Holds()
    holds.failed(STUCK, TimeoutError())
    holds.sent(STUCK)
    assert holds.keys() == []


@pytest.mark.parametrize(("kept", "left"), [([], []), ([STUCK, OTHER], [STUCK])])
def test_a_row_that_was_withdrawn_is_forgotten(kept, left):
    holds = Holds()
    holds.failed(STUCK, TimeoutError())
    holds.forget_all_but(kept)
    assert holds.keys() == left
