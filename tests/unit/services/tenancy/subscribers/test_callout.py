from __future__ import annotations

import time

import pytest

from morningai.bus.issuer import Issuer, claims_of
from services.tenancy.subscribers.callout import Callout
from services.tenancy.subscribers.roll import Roll

SERVER = Issuer("server")
CLIENT = {"host": "192.0.2.1", "id": 7}


class BrokenDatabase:
    """Fails in a way that nobody foresaw."""

    def __init__(self) -> None:
        self.asked = 0

    def connection(self):
        self.asked += 1
        raise RuntimeError("boom")


@pytest.fixture
def callout():
    async def prepare(subscriber):
        return None

    return Callout(BrokenDatabase(), Issuer("tenancy"), Roll(32, 32), prepare)


def question(*, key: object = "mk_1.secret", seconds: float = 2, **more: object) -> str:
    asked = {
        "server_id": {"id": "N1"},
        "user_nkey": "U1",
        "connect_opts": {"auth_token": key},
        "client_info": CLIENT,
    } | more
    return SERVER.sign({"exp": int(time.time() + seconds), "nats": asked}, now=0)


def error_of(response: str) -> object:
    claims = claims_of(response)
    assert (claims["sub"], claims["aud"]) == ("U1", "N1")
    return claims["nats"]["error"]


async def test_an_unforeseen_failure_admits_nobody_and_ends_nothing(callout):
    assert error_of(await callout.answer(question())) == "The key cannot be checked."


@pytest.mark.parametrize(
    "key", ["", None, "mk_1.\x00", "mk_1", "mk_1.", "mk_a.b c", "op_1.secret", "x", "mk_1." + "x" * 300]
)
async def test_what_is_no_key_is_refused_without_asking_the_database(callout, key):
    assert "API key" in error_of(await callout.answer(question(key=key)))
    assert callout.database.asked == 0


@pytest.mark.parametrize(
    "token", ["", "x", question(server_id="N1"), question(connect_opts=None), question(client_info={"host": "h"})]
)
async def test_what_is_no_question_gets_no_answer(callout, token):
    assert await callout.answer(token) is None


async def test_a_question_for_which_nobody_waits_gets_no_answer(callout):
    assert await callout.answer(question(seconds=-1)) is None
