from __future__ import annotations

import os

import pytest

from morningai.secrets.sealed import KEY_BYTES, CannotOpen, key_id_of, open_sealed, seal

KEY = os.urandom(KEY_BYTES)
PLACE = ("cell", "tenant", "webhook_endpoints", "secret", "row")
SEALED = seal(KEY, "k1", PLACE, b"hush")


def test_what_was_sealed_opens_where_it_belongs() -> None:
    assert open_sealed(KEY, PLACE, SEALED) == b"hush"


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert seal(KEY, "k1", PLACE, b"hush") != seal(KEY, "k1", PLACE, b"hush")


def test_the_header_names_the_key() -> None:
    assert key_id_of(SEALED) == "k1"


@pytest.mark.parametrize("part", range(len(PLACE)))
def test_nothing_opens_elsewhere(part: int) -> None:
    elsewhere = (*PLACE[:part], "other", *PLACE[part + 1 :])
    with pytest.raises(CannotOpen):
        open_sealed(KEY, elsewhere, SEALED)


def test_parts_that_run_together_are_other_parts() -> None:
    sealed = seal(KEY, "k1", ("ab", "c"), b"hush")
    with pytest.raises(CannotOpen):
        open_sealed(KEY, ("a", "bc"), sealed)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(CannotOpen):
        open_sealed(os.urandom(KEY_BYTES), PLACE, SEALED)


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_a_changed_byte_anywhere_is_noticed(position: int) -> None:
    changed = bytearray(SEALED)
    changed[position] ^= 1
    with pytest.raises(CannotOpen):
        open_sealed(KEY, PLACE, bytes(changed))


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_what_is_cut_off_does_not_open(length: int) -> None:
    with pytest.raises(CannotOpen):
        open_sealed(KEY, PLACE, SEALED[:length])


def test_a_refusal_says_nothing_of_what_was_inside() -> None:
    with pytest.raises(CannotOpen) as refused:
        open_sealed(os.urandom(KEY_BYTES), PLACE, SEALED)
    assert "hush" not in f"{refused.value} {refused.value!r}"
