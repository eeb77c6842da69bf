from __future__ import annotations

import time

import pytest

from morningai.bus.issuer import Issuer, claims_of
from services.tenancy.subscribers.callout import Callout

SERVER = Issuer("server")


class BrokenDatabase:
    """Fails in a way that nobody foresaw."""

    def connection(self):
        raise RuntimeError("boom")


@pytest.fixture
def callout():
    async def prepare(subscriber):
        return None

    return Callout(BrokenDatabase(), Issuer("tenancy"), prepare)


def question(*, key: object = "mk_1.secret", seconds: float = 2, **more: object) -> str:
    asked = {"server_id": {"id": "N1"}, "user_nkey": "U1", "connect_opts": {"auth_token": key}, **more}
    return SERVER.sign({"exp": int(time.time() + seconds), "nats": asked}, now=0)


def error_of(response: str) -> object:
    claims = claims_of(response)
    assert (claims["sub"], claims["aud"]) == ("U1", "N1")
    return claims["nats"]["error"]


async def test_an_unforeseen_failure_admits_nobody_and_ends_nothing(callout):
    assert error_of(await callout.answer(question())) == "The key cannot be checked."


@pytest.mark.parametrize("key", ["", None, "mk_1.\x00"])
async def test_without_a_key_the_database_is_not_asked(callout, key):
    assert "No API key was presented" in error_of(await callout.answer(question(key=key)))


@pytest.mark.parametrize("token", ["", "x", question(server_id="N1"), question(connect_opts=None)])
async def test_what_is_no_question_gets_no_answer(callout, token):
    assert await callout.answer(token) is None


async def test_a_question_for_which_nobody_waits_gets_no_answer(callout):
    assert await callout.answer(question(seconds=-1)) is None
