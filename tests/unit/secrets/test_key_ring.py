from __future__ import annotations

from uuid import uuid4

import pytest

from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.sealed import CannotOpen

OLD, NEW = make_key("old"), make_key("new")
IDS = {"tenant_id": uuid4(), "data_key_id": uuid4()}
DATA_KEY = b"d" * 32


def test_the_first_key_wraps_and_all_unwrap() -> None:
    wrapped = KeyRing.parse(OLD).wrap(DATA_KEY, **IDS)
    both = KeyRing.parse(f"{NEW},{OLD}")
    assert both.current == "new"
    assert both.unwrap(wrapped, **IDS) == DATA_KEY
    assert not both.is_current(wrapped)
    assert both.is_current(both.wrap(DATA_KEY, **IDS))


def test_a_retired_key_unwraps_nothing() -> None:
    wrapped = KeyRing.parse(OLD).wrap(DATA_KEY, **IDS)
    with pytest.raises(CannotOpen):
        KeyRing.parse(NEW).unwrap(wrapped, **IDS)


def test_another_key_of_the_same_name_unwraps_nothing() -> None:
    wrapped = KeyRing.parse(OLD).wrap(DATA_KEY, **IDS)
    with pytest.raises(CannotOpen):
        KeyRing.parse(make_key("old")).unwrap(wrapped, **IDS)


@pytest.mark.parametrize("name", IDS)
def test_a_data_key_of_another_row_is_not_unwrapped(name: str) -> None:
    ring = KeyRing.parse(OLD)
    wrapped = ring.wrap(DATA_KEY, **IDS)
    with pytest.raises(CannotOpen):
        ring.unwrap(wrapped, **{**IDS, name: uuid4()})


def test_keys_do_not_show_in_a_traceback_or_log() -> None:
    ring = KeyRing.parse(OLD)
    assert OLD.partition(":")[2] not in repr(ring)
    assert repr(ring) == "KeyRing(current='old')"


WRONG = {
    "nothing": "",
    "no key": "k1",
    "an empty key": "k1:",
    "a short key": "k1:AAAA",
    "a name in capitals": "K1:" + "A" * 43 + "=",
    "no base64": "k1:not base64",
    "a name twice": f"{OLD},{OLD}",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_refused_without_quoting_it(wrong: str) -> None:
    text = WRONG[wrong]
    with pytest.raises(ValueError, match=r"^key ") as refused:
        KeyRing.parse(text)
    encoded = text.partition(":")[2]
    assert not encoded or encoded not in str(refused.value)
