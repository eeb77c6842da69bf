from __future__ import annotations

import base64

import nkeys
import pytest

from morningai.bus.issuer import Issuer, claims_of


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_is_signed_by_the_key_it_names():
    issuer = Issuer("secret")
    token = issuer.sign({"sub": "U1"}, now=1_000)
    header, claims, signature = token.split(".")
    key = base64.b32decode(issuer.public_key + "=" * (-len(issuer.public_key) % 8))[1:33]
    nkeys.nacl.signing.VerifyKey(key).verify(f"{header}.{claims}".encode(), decoded(signature))
    assert claims_of(token)["iss"] == issuer.public_key
    assert claims_of(token)["iat"] == 1_000


def test_the_key_is_an_account_s_and_the_same_for_the_same_secret():
    assert Issuer("secret").public_key == Issuer("secret").public_key
    assert Issuer("secret").public_key != Issuer("other").public_key
    assert Issuer("secret").public_key.startswith("A")


@pytest.mark.parametrize("token", ["", "a.b", "a.%.c", "a.bm8.c", "a.W10.c"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(ValueError, match="not a JWT"):
        claims_of(token)
