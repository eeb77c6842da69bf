from __future__ import annotations

from uuid import UUID

import pytest

from services.tenancy.subscribers import memory
from services.tenancy.subscribers.memory import KeyMemory

TENANT = UUID(int=1)
KEY, OTHER = "mk_1.secret", "mk_1.another"


@pytest.fixture
def known():
    return KeyMemory()


def test_a_refused_key_is_refused_and_no_other_secret_of_it(known):
    known.refuse(KEY)
    assert (known.is_refused(KEY), known.is_refused(OTHER)) == (True, False)


def test_a_refusal_is_forgotten_after_its_seconds(known, monkeypatch):
    monkeypatch.setattr(memory, "REFUSED_SECONDS", 0.0)
    known.refuse(KEY)
    assert not known.is_refused(KEY)


def test_a_key_that_was_admitted_is_known_until_it_is_refused(known):
    known.admit(KEY, TENANT)
    assert (known.tenant_of(KEY), known.tenant_of(OTHER)) == (TENANT, None)
    known.refuse(KEY)
    assert known.tenant_of(KEY) is None


def test_the_oldest_refusal_makes_room_for_the_newest(known, monkeypatch):
    monkeypatch.setattr(memory, "MOST_REFUSED", 2)
    for secret in "abc":
        known.refuse(f"mk_1.{secret}")
    assert [known.is_refused(f"mk_1.{secret}") for secret in "abc"] == [False, True, True]
