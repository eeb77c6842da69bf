"""Answers the server's question who a connection is: a subscriber with its tenant's permissions, or nobody."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import nats.errors
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from morningai.bus.issuer import Issuer, claims_of
from morningai.bus.permissions import Permissions, subscriber_permissions
from morningai.bus.server_config import LARGEST_ACKNOWLEDGEMENT_BYTES, MOST_SUBSCRIPTIONS, SUBSCRIBERS_ACCOUNT
from morningai.db.session import Database
from morningai.errors import MorningAIError, Unauthenticated, Unavailable
from services.tenancy.domain.subscribers import Subscriber
from services.tenancy.repository import subscribers as repository

log = structlog.get_logger()

JWT_VERSION = 2


@dataclass(frozen=True)
class Question:
    """What the server asks: the presented key, and the two names that the answer must repeat."""

    server_id: str
    user_nkey: str
    key: str
    expires_at: int

    @classmethod
    def parse(cls, token: str) -> Question:
        """Raises ValueError. Only the server can ask: the callout's account has no other user."""
        claims = claims_of(token)
        asked = _object(claims, "nats")
        options = _object(asked, "connect_opts")
        key = options.get("auth_token") or options.get("pass") or ""
        server_id = _object(asked, "server_id").get("id")
        return cls(str(server_id), str(asked.get("user_nkey")), str(key), int(str(claims.get("exp", 0))))


@dataclass(frozen=True)
class Callout:
    """`prepare` makes what a subscriber needs on the bus before it comes in; `permit` says what it may do there."""

    database: Database
    issuer: Issuer
    prepare: Callable[[Subscriber], Awaitable[None]]
    permit: Callable[[UUID, str], Permissions] = subscriber_permissions

    async def answer(self, token: str) -> str | None:
        """The response to one question; None when nobody waits for it any more, or it is none."""
        try:
            question = Question.parse(token)
        except ValueError as error:
            log.warning("tenancy.callout.unreadable", error=str(error))
            return None
        if question.expires_at <= time.time():
            return None
        try:
            subscriber = await self._admit(question)
        except MorningAIError as error:
            log.info("tenancy.subscriber.refused", reason=error.reason)
            return self._response(question, {"error": str(error)})
        except Exception:  # the bus boundary: what a stranger presents must not end the service
            log.exception("tenancy.callout.crashed")
            return self._response(question, {"error": "The key cannot be checked."})
        log.info("tenancy.subscriber.admitted", tenant_id=str(subscriber.tenant_id), key_id=subscriber.key_id)
        return self._response(question, {"jwt": self._user(question, subscriber)})

    async def _admit(self, question: Question) -> Subscriber:
        if not question.key or "\x00" in question.key:
            raise Unauthenticated("No API key was presented.", remedy="Connect with a key of your tenant as the token.")
        try:
            subscriber = await repository.authenticate(self.database, question.key)
            await self.prepare(subscriber)
        except (psycopg.OperationalError, PoolTimeout, nats.errors.Error, TimeoutError) as error:
            log.warning("tenancy.callout.failed", error=f"{type(error).__name__}: {error}")
            raise Unavailable("The key cannot be checked now.") from error
        return subscriber

    def _user(self, question: Question, subscriber: Subscriber) -> str:
        allowed = self.permit(subscriber.tenant_id, subscriber.key_id)
        limits = {"subs": MOST_SUBSCRIPTIONS, "payload": LARGEST_ACKNOWLEDGEMENT_BYTES, "data": -1}
        rights = {"pub": {"allow": list(allowed.publish)}, "sub": {"allow": list(allowed.subscribe)}}
        claims = {
            "sub": question.user_nkey,
            "aud": SUBSCRIBERS_ACCOUNT,
            "name": str(subscriber),
            "nats": {**rights, **limits, "type": "user", "version": JWT_VERSION},
        }
        return self.issuer.sign(claims, now=int(time.time()))

    def _response(self, question: Question, content: Mapping[str, str]) -> str:
        claims = {
            "sub": question.user_nkey,
            "aud": question.server_id,
            "nats": {**content, "type": "authorization_response", "version": JWT_VERSION},
        }
        return self.issuer.sign(claims, now=int(time.time()))


def _object(parent: Mapping[str, object], name: str) -> Mapping[str, object]:
    child = parent.get(name)
    if not isinstance(child, dict):
        raise ValueError(f"the claims have no {name}")
    return child
