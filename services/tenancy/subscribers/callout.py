"""Answers the server's question who a connection is: a subscriber with its tenant's permissions, or nobody.

Few keys are checked at a time. Keys that were admitted before wait apart from strangers', whose sources take turns, and
a key that was refused a moment ago is refused without asking: whoever tries keys leaves PostgreSQL to the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from uuid import UUID

import nats.errors
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from morningai.bus.issuer import Issuer, claims_of
from morningai.bus.permissions import Permissions, subscriber_permissions
from morningai.bus.server_config import LARGEST_ACKNOWLEDGEMENT_BYTES, MOST_SUBSCRIPTIONS, SUBSCRIBERS_ACCOUNT
from morningai.db.session import Database
from morningai.errors import MorningAIError, PermissionDenied, Unauthenticated, Unavailable
from services.tenancy.domain.subscribers import Connection, Subscriber
from services.tenancy.repository import subscribers as repository
from services.tenancy.subscribers.line import Line
from services.tenancy.subscribers.memory import KeyMemory
from services.tenancy.subscribers.roll import Roll

log = structlog.get_logger()

JWT_VERSION = 2
KEY = re.compile(r"mk_[A-Za-z0-9_-]{1,60}\.[!-~]{1,256}")
STRANGERS_AT_A_TIME = 2
KNOWN_AT_A_TIME = 2
REMEDY = "Connect with a key of your tenant as the token."


@dataclass(frozen=True)
class Question:
    """What the server asks: the presented key, who presents it, and the two names that the answer must repeat."""

    server_id: str
    user_nkey: str
    key: str
    host: str
    number: int
    expires_at: int

    @property
    def is_late(self) -> bool:
        """Nobody waits for the answer any more."""
        return self.expires_at <= time.time()

    @classmethod
    def parse(cls, token: str) -> Question:
        """Raises ValueError. Only the server can ask: the callout's account has no other user."""
        claims = claims_of(token)
        asked = _object(claims, "nats")
        options, client = _object(asked, "connect_opts"), _object(asked, "client_info")
        return cls(
            server_id=str(_object(asked, "server_id").get("id")),
            user_nkey=str(asked.get("user_nkey")),
            key=str(options.get("auth_token") or options.get("pass") or ""),
            host=str(client.get("host")),
            number=int(str(client.get("id"))),
            expires_at=int(str(claims.get("exp", 0))),
        )


@dataclass(frozen=True)
class Callout:
    """`prepare` makes what a subscriber needs on the bus before it comes in; `permit` says what it may do there."""

    database: Database
    issuer: Issuer
    roll: Roll
    prepare: Callable[[Subscriber], Awaitable[None]]
    permit: Callable[[UUID, str], Permissions] = subscriber_permissions
    memory: KeyMemory = field(default_factory=KeyMemory)
    strangers: Line = field(default_factory=lambda: Line(STRANGERS_AT_A_TIME))
    known: Line = field(default_factory=lambda: Line(KNOWN_AT_A_TIME))

    async def answer(self, token: str) -> str | None:
        """The response to one question; None when nobody waits for it any more, or it is none."""
        try:
            question = Question.parse(token)
        except ValueError as error:
            log.warning("tenancy.callout.unreadable", error=str(error))
            return None
        try:
            subscriber = await self._admit(question)
        except MorningAIError as error:
            log.info("tenancy.subscriber.refused", reason=error.reason, source=question.host, message=error.message)
            return self._response(question, {"error": str(error)})
        except Exception:  # the bus boundary: what a stranger presents must not end the service
            log.exception("tenancy.callout.crashed")
            return self._response(question, {"error": "The key cannot be checked."})
        if subscriber is None:
            return None
        log.info("tenancy.subscriber.admitted", tenant_id=str(subscriber.tenant_id), key_id=subscriber.key_id)
        return self._response(question, {"jwt": self._user(question, subscriber)})

    async def _admit(self, question: Question) -> Subscriber | None:
        """None when it is too late."""
        if not question.key:
            raise Unauthenticated("No API key was presented.", remedy=REMEDY)
        if not KEY.fullmatch(question.key):
            raise _not_valid()
        if self.memory.is_refused(question.key):
            raise _not_valid()
        async with self._place(question):
            if question.is_late:
                return None
            try:
                subscriber = await self._authenticate(question.key)
                await self._enter(question, subscriber)
            except (psycopg.OperationalError, PoolTimeout, nats.errors.Error, TimeoutError) as error:
                log.warning("tenancy.callout.failed", error=f"{type(error).__name__}: {error}")
                raise Unavailable("The key cannot be checked now.") from error
            return subscriber

    def _place(self, question: Question) -> AbstractAsyncContextManager[None]:
        tenant = self.memory.tenant_of(question.key)
        return self.known.place(str(tenant)) if tenant else self.strangers.place(question.host)

    async def _authenticate(self, key: str) -> Subscriber:
        if self.memory.is_refused(key):  # of another connection with it, while this one waited
            raise _not_valid()
        try:
            subscriber = await repository.authenticate(self.database, key)
        except (Unauthenticated, PermissionDenied):
            self.memory.refuse(key)
            raise
        self.memory.admit(key, subscriber.tenant_id)
        return subscriber

    async def _enter(self, question: Question, subscriber: Subscriber) -> None:
        connection = Connection(question.server_id, question.number, subscriber)
        self.roll.enter(connection)
        try:
            await self.prepare(subscriber)
        except BaseException:
            self.roll.leave(connection.place)
            raise

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


def _not_valid() -> Unauthenticated:
    return Unauthenticated("The API key is not valid.", remedy=REMEDY)


def _object(parent: Mapping[str, object], name: str) -> Mapping[str, object]:
    child = parent.get(name)
    if not isinstance(child, dict):
        raise ValueError(f"the claims have no {name}")
    return child
