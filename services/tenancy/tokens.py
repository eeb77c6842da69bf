"""Verifies tokens of identity providers (RFC 7519, OpenID Connect): issuer, audience, times and signature.

The issuer's settings name the algorithms and where its keys are; nothing in a token chooses either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import jwt
import structlog

from morningai.errors import Unauthenticated
from services.tenancy.domain.members import Identity
from services.tenancy.key_sets import KeyData, KeySets
from services.tenancy.settings import Issuer

log = structlog.get_logger()

LONGEST_TOKEN = 6144
LONGEST_CLAIM = 255
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
REQUIRED = ["iss", "aud", "sub", "exp", "iat"]
REMEDY = "Sign in again and send a fresh token of an identity provider that this platform trusts."


class TokenVerifier:
    def __init__(self, issuers: Sequence[Issuer], key_sets: KeySets, *, leeway: timedelta) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._key_sets = key_sets
        self.leeway = leeway

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated, or Unavailable when the issuer's keys cannot be had."""
        try:
            if len(token) > LONGEST_TOKEN:
                raise jwt.InvalidTokenError("too long")
            header = jwt.get_unverified_header(token)
            issuer = self._issuer(token)
            key = await self._key(issuer, header)
            return _identity(self._claims(token, issuer, key))
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("The token has expired.", remedy=REMEDY) from error
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            log.info("tenancy.token.refused", reason=type(error).__name__)
            raise Unauthenticated("The token is not valid.", remedy=REMEDY) from error

    def _issuer(self, token: str) -> Issuer:
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if not isinstance(claimed, str) or claimed not in self._issuers:
            raise jwt.InvalidIssuerError("unknown")
        return self._issuers[claimed]

    async def _key(self, issuer: Issuer, header: dict[str, object]) -> jwt.PyJWK:
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms:
            raise jwt.InvalidAlgorithmError("not allowed")
        if not isinstance(key_id, str) or len(key_id) > LONGEST_CLAIM:
            raise jwt.InvalidKeyError("no id")
        key = await self._key_sets.get_key(issuer, key_id)
        if key is None or key.get("alg", algorithm) != algorithm:
            raise jwt.InvalidKeyError("unknown")
        return _public_key(key, str(algorithm))

    def _claims(self, token: str, issuer: Issuer, key: jwt.PyJWK) -> dict[str, object]:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=issuer.issuer,
            audience=issuer.audience,
            leeway=self.leeway,
            options={"require": REQUIRED, "enforce_minimum_key_length": True},
        )


def _public_key(key: KeyData, algorithm: str) -> jwt.PyJWK:
    """Raises PyJWTError when the key is not one of the algorithm's kind."""
    return jwt.PyJWK(dict(key), algorithm=algorithm)


def _identity(claims: dict[str, object]) -> Identity:
    verified = claims.get("email_verified") is True
    return Identity(
        issuer=str(claims["iss"]),
        subject=_text(claims["sub"]),
        email=_text(claims.get("email", "")) if verified else "",
        display_name=_text(claims.get("name", "")),
        expires_at=datetime.fromtimestamp(min(float(str(claims["exp"])), END_OF_TIME), UTC),
    )


def _text(claim: object) -> str:
    if not isinstance(claim, str) or len(claim) > LONGEST_CLAIM or not claim.isprintable():
        raise jwt.InvalidTokenError("a claim is no short text")
    return claim
