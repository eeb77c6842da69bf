"""Tokens of an identity provider: which are believed. Its key set comes over HTTP, its keys were made here."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from morningai.egress import AllowList, EgressGuard
from morningai.errors import Unauthenticated, Unavailable
from morningai.secrets.key_ring import make_key
from services.tenancy.key_sets import MOST_KEYS, KeySets
from services.tenancy.settings import Issuer, Settings
from services.tenancy.tokens import REMEDY, TokenVerifier
from tests.identity_provider import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    claims_of,
    private_key,
    public_jwk,
    running_identity_provider,
    sign,
)

HOUR = 3600


@pytest.fixture
def provider():
    with running_identity_provider() as running:
        yield running


def make_verifier(provider, *, fresh=HOUR, refetch=0.2, leeway=0, allowed=("127.0.0.1",), **issuer):
    values = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_uri": provider.jwks_uri, **issuer}
    guard = EgressGuard(AllowList.parse(allowed))
    key_sets = KeySets(guard, fresh_seconds=fresh, refetch_seconds=refetch)
    return TokenVerifier([Issuer(**values)], key_sets, leeway=timedelta(seconds=leeway))


async def refused(verifier, token):
    with pytest.raises(Unauthenticated) as error:
        await verifier.verify(token)
    assert error.value.remedy == REMEDY
    return error.value.message


@pytest.mark.parametrize("kind", ALGORITHMS)
async def test_a_token_names_its_identity(provider, kind):
    provider.publish(public_jwk("k1", kind))
    identity = await make_verifier(provider).verify(provider.token(kind=kind))
    assert (identity.issuer, identity.subject) == (ISSUER, "ada")
    assert (identity.email, identity.display_name) == ("ada@example.org", "Ada")
    assert 290 < identity.expires_at.timestamp() - time.time() <= 300


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_address_that_the_provider_did_not_verify_is_not_kept(provider, verified):
    identity = await make_verifier(provider).verify(provider.token(email_verified=verified))
    assert identity.email == ""


def part(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def unsigned(algorithm):
    return f"{part({'alg': algorithm, 'kid': 'k1', 'typ': 'JWT'})}.{part(claims_of())}."


def confused(algorithm="HS256"):
    """Signed with the public key as if it were a shared secret."""
    public = private_key("k1").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': algorithm, 'kid': 'k1', 'typ': 'JWT'})}.{part(claims_of())}"
    mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def with_header(**header):
    return jwt.encode(claims_of(), private_key("k1"), algorithm="RS256", headers={"kid": "k1", **header})


def tampered():
    header, _, signature = sign(claims_of()).split(".")
    return f"{header}.{part(claims_of('eve'))}.{signature}"


def now():
    return int(time.time())


BAD_TOKENS = {
    "without a signature": lambda: unsigned("none"),
    "without a signature, in capitals": lambda: unsigned("NONE"),
    "without a signature, as RS256": lambda: unsigned("RS256"),
    "with the public key as a secret": confused,
    "with the public key as a secret, as RS256": lambda: confused("RS256"),
    "with an algorithm that is not allowed": lambda: with_header(alg="RS512"),
    "with a key of another kind": lambda: sign(claims_of(), kind="ES256"),
    "with another's key under a known id": lambda: jwt.encode(
        claims_of(), private_key("other"), algorithm="RS256", headers={"kid": "k1"}
    ),
    "with a key that is not in the set": lambda: sign(claims_of(), key_id="k2"),
    "without a key id": lambda: jwt.encode(claims_of(), private_key("k1"), algorithm="RS256"),
    "with a key in its own header": lambda: jwt.encode(
        claims_of(), private_key("k2"), algorithm="RS256", headers={"kid": "k2", "jwk": public_jwk("k2")}
    ),
    "with a critical extension": lambda: with_header(crit=["exp"]),
    "of another issuer": lambda: sign(claims_of(iss="https://evil.example.org")),
    "of an issuer with a slash more": lambda: sign(claims_of(iss=ISSUER + "/")),
    "of no issuer": lambda: sign(claims_of(iss=None)),
    "of a list of issuers": lambda: f"{part({'alg': 'RS256', 'kid': 'k1'})}.{part(claims_of(iss=[ISSUER]))}.AAAA",
    "for another audience": lambda: sign(claims_of(aud="other")),
    "for no audience": lambda: sign(claims_of(aud=None)),
    "without an expiry": lambda: sign(claims_of(exp=None)),
    "without a time of issue": lambda: sign(claims_of(iat=None)),
    "not valid yet": lambda: sign(claims_of(nbf=now() + 60)),
    "issued in the future": lambda: sign(claims_of(iat=now() + 60)),
    "that expires at no number": lambda: sign({**claims_of(), "exp": "never"}),
    "without a subject": lambda: sign(claims_of(sub=None)),
    "with an empty line in the subject": lambda: sign(claims_of("a\nb")),
    "with a NUL in the subject": lambda: sign(claims_of("a\x00")),
    "with a long subject": lambda: sign(claims_of("x" * 256)),
    "with another's claims": tampered,
    "that is too long": lambda: sign(claims_of(padding="x" * 4600)),
    "of dots": lambda: "..",
    "of garbage": lambda: "a.b.c",
    "of nothing": lambda: "",
    "in no alphabet": lambda: "ü.ü.ü",
    "of deep nesting": lambda: ".".join(
        [part({"alg": "RS256", "kid": "k1"}), base64.urlsafe_b64encode(b"[" * 4000).decode(), "AAAA"]
    ),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_token_is_refused(provider, kind):
    assert await refused(make_verifier(provider), BAD_TOKENS[kind]()) == "The token is not valid."


async def test_an_expired_token_is_refused_as_such(provider):
    verifier = make_verifier(provider)
    assert await refused(verifier, provider.token(exp=now() - 1)) == "The token has expired."


async def test_the_leeway_is_for_the_difference_of_two_clocks(provider):
    verifier = make_verifier(provider, leeway=30)
    await verifier.verify(provider.token(exp=now() - 5, nbf=now() + 5, iat=now() + 5))
    await refused(verifier, provider.token(exp=now() - 31))
    await refused(verifier, provider.token(nbf=now() + 40))


async def test_an_algorithm_is_allowed_by_the_issuer_s_settings_alone(provider):
    provider.publish(public_jwk("k1"), public_jwk("e1", "ES256"))
    verifier = make_verifier(provider, algorithms=["ES256"])
    await verifier.verify(provider.token(key_id="e1", kind="ES256"))
    await refused(verifier, provider.token())


async def test_a_key_set_is_fetched_once_for_many_tokens(provider):
    verifier = make_verifier(provider)
    await asyncio.gather(*(verifier.verify(provider.token()) for _ in range(20)))
    assert provider.fetches == 1


async def test_a_rotated_key_is_found_and_the_old_one_stays_while_it_is_published(provider):
    verifier = make_verifier(provider)
    await verifier.verify(provider.token())
    provider.publish(public_jwk("k1"), public_jwk("k2"))
    await asyncio.sleep(0.3)
    await verifier.verify(provider.token(key_id="k2"))
    await verifier.verify(provider.token())
    assert provider.fetches == 2


async def test_a_removed_key_is_refused_once_the_set_is_fetched_again(provider):
    verifier = make_verifier(provider, fresh=0.3)
    await verifier.verify(provider.token())
    provider.publish(public_jwk("k2"))
    await asyncio.sleep(0.6)
    await refused(verifier, provider.token())
    await verifier.verify(provider.token(key_id="k2"))


async def test_unknown_keys_make_one_fetch_in_a_while(provider):
    verifier = make_verifier(provider, refetch=60)
    await verifier.verify(provider.token())
    tokens = [sign(claims_of(), key_id=f"x{number % 2}") for number in range(20)]
    for token in tokens:
        await refused(verifier, token)
    assert provider.fetches == 1


async def test_a_stranger_s_tokens_make_no_fetch(provider):
    verifier = make_verifier(provider)
    await refused(verifier, sign(claims_of(iss="https://evil.example.org")))
    await refused(verifier, unsigned("none"))
    assert provider.fetches == 0


async def test_while_the_provider_is_away_its_last_keys_are_believed(provider):
    verifier = make_verifier(provider, fresh=0.1, refetch=0.1)
    await verifier.verify(provider.token())
    provider.status = 500
    await asyncio.sleep(0.3)
    await verifier.verify(provider.token())
    assert provider.fetches == 2


BROKEN = {
    "nothing": b"",
    "no JSON": b"<html>",
    "no object": b"[]",
    "no keys": b"{}",
    "keys that are no list": b'{"keys": {}}',
    "too much": b" " * (256 * 1024) + b'{"keys": []}',
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_key_set_that_is_none_is_unavailable(provider, kind):
    provider.key_set = BROKEN[kind]
    with pytest.raises(Unavailable, match="keys cannot be had"):
        await make_verifier(provider).verify(provider.token())


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_a_key_set_is_not_looked_for_elsewhere(provider, status):
    provider.status, provider.headers = status, {"Location": provider.jwks_uri}
    with pytest.raises(Unavailable):
        await make_verifier(provider).verify(provider.token())
    assert provider.fetches == 1


async def test_keys_that_cannot_verify_are_left_out(provider):
    provider.publish(
        {"kid": "s", "kty": "oct", "k": "c2VjcmV0"},
        {**public_jwk("k2"), "use": "enc"},
        {key: value for key, value in public_jwk("k1").items() if key != "kid"},
        *[public_jwk("k1")] * MOST_KEYS,
        public_jwk("k3"),
    )
    verifier = make_verifier(provider)
    await verifier.verify(provider.token())
    await refused(verifier, provider.token(key_id="k2"))
    await refused(verifier, provider.token(key_id="k3"))


async def test_a_provider_at_an_internal_address_needs_the_operator_s_word(provider):
    with pytest.raises(Unavailable):
        await make_verifier(provider, allowed=()).verify(provider.token())
    assert provider.fetches == 0


NEEDED = {
    "database_dsn": "dbname=x", "relay_dsn": "dbname=x", "nats_url": "x", "nats_user": "x", "nats_password": "x",
    "grpc_address": "x", "work_dir": "/tmp", "callout_password": "x", "issuer_secret": "x",
    "secret_keys": make_key("k1"),
}  # fmt: skip
ISSUER_SETTINGS = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_uri": "https://id.example.org/keys"}


def settings(*issuers, **more):
    return Settings(**NEEDED, identity_issuers=[{**ISSUER_SETTINGS, **issuer} for issuer in issuers], **more)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "", "rs256"])
def test_neither_none_nor_a_shared_secret_can_be_configured(algorithm):
    with pytest.raises(ValidationError, match="algorithms"):
        settings({"algorithms": [algorithm]})


@pytest.mark.parametrize(
    "uri", ["", "file:///etc/passwd", "https://", "https://u:p@id.example.org/keys", "id.example.org"]
)
def test_where_no_key_set_can_be_is_refused(uri):
    with pytest.raises(ValidationError, match="must be https://host/path"):
        settings({"jwks_uri": uri})


def test_keys_without_encryption_need_an_allowed_host():
    plain = {"jwks_uri": "http://id.internal/keys"}
    with pytest.raises(ValidationError, match="identity_egress_allowed"):
        settings(plain)
    assert settings(plain, identity_egress_allowed="id.internal").identity_issuers[0].algorithms == (
        "RS256",
        "ES256",
        "EdDSA",
    )


def test_an_issuer_stands_once():
    with pytest.raises(ValidationError, match="twice"):
        settings({}, {"audience": "other"})
