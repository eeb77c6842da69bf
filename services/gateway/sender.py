"""Delivers webhooks: claims what is due, posts it, and writes down what came of it.

A delivery is claimed for a bounded time before it is posted, so it is posted at least once whatever dies. Any number of
replicas may run. No endpoint and no tenant takes more than its share of the tries under way.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import psycopg
import structlog
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg_pool import PoolTimeout

from morningai.db.session import Database
from morningai.errors import InvalidInput
from morningai.secrets.sealed import CannotOpen
from morningai.secrets.vault import Vault, data_key_id_of
from services.gateway.domain.webhooks import (
    Claim,
    DeliveryState,
    Lasting,
    Outcome,
    retry_delay,
    signature_header,
    target_of,
)
from services.gateway.poster import Poster
from services.gateway.repository import sender as repository
from services.gateway.repository.webhooks import secret_cell
from services.gateway.settings import Settings

log = structlog.get_logger()

LONGEST_SLEEP_SECONDS = 5.0
SHORTEST_SLEEP_SECONDS = 0.05
AFTER_ERROR_SECONDS = 1.0
FINISH_TRIES = 3
CONTENT_TYPE = "application/json"
GONE_REASON = "The endpoint answered 410 Gone."
DATABASE_ERRORS = (psycopg.Error, PoolTimeout, OSError)


class Sender:
    """Runs until cancelled; what is cancelled meanwhile is delivered again when its claim ends."""

    def __init__(self, database: Database, poster: Poster, vault: Vault, settings: Settings) -> None:
        self._database = database
        self._poster = poster
        self._vault = vault
        self._settings = settings
        self._lasting = Lasting(settings.webhook_lasting_failures, settings.webhook_lasting_hours)
        self._wake = asyncio.Event()
        self._flights: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        running = asyncio.current_task()
        assert running is not None
        try:
            await self._database.open()
            # The pool's wait_for may swallow a cancellation (python/cpython#86296, mended in 3.12).
            while not running.cancelling():
                self._wake.clear()
                try:
                    with suppress_instrumentation():
                        await self._take_off()
                        await self._sleep_until_due()
                except DATABASE_ERRORS as error:
                    log.warning("gateway.sender.failed", error=type(error).__name__)
                    await asyncio.sleep(AFTER_ERROR_SECONDS)
        finally:
            for flight in self._flights:
                flight.cancel()
            await asyncio.gather(*self._flights, return_exceptions=True)
            await self._database.close()

    async def _take_off(self) -> None:
        room = self._settings.webhook_slots - len(self._flights)
        if room <= 0:
            return
        async with self._database.connection() as connection:
            claims = await repository.claim_deliveries(
                connection,
                limit=room,
                per_tenant=self._settings.webhook_slots_per_tenant,
                per_endpoint=self._settings.webhook_slots_per_endpoint,
                lease_seconds=self._settings.webhook_lease_seconds,
            )
        for claim in claims:
            flight = asyncio.create_task(self._deliver(claim))
            self._flights.add(flight)
            flight.add_done_callback(self._land)

    def _land(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self.wake()
        if not flight.cancelled() and (error := flight.exception()):
            log.error("gateway.delivery.lost", error=type(error).__name__)

    async def _sleep_until_due(self) -> None:
        async with self._database.connection() as connection:
            seconds = await repository.seconds_to_next(connection)
        # What is due and could not be claimed waits for a place: the end of a flight wakes.
        longest = LONGEST_SLEEP_SECONDS if seconds is None or seconds <= 0 else min(seconds, LONGEST_SLEEP_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(longest, SHORTEST_SLEEP_SECONDS)):
                await self._wake.wait()

    async def _deliver(self, claim: Claim) -> None:
        outcome = await self._try(claim)
        for left in reversed(range(FINISH_TRIES)):
            try:
                await self._finish(claim, outcome)
                break
            except DATABASE_ERRORS:
                if not left:
                    raise
                await asyncio.sleep(AFTER_ERROR_SECONDS)

    async def _try(self, claim: Claim) -> Outcome:
        try:
            target, secrets = target_of(claim.url), await self._secrets(claim)
        except (CannotOpen, InvalidInput) as error:
            return Outcome(error=error.message)
        now = int(time.time())
        signature = signature_header(secrets, webhook_id=claim.event_id, timestamp=now, body=claim.body)
        headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": "MorningAI",
            "webhook-id": str(claim.event_id),
            "webhook-timestamp": str(now),
            "webhook-signature": signature,
        }
        return await self._poster.post(target, headers=headers, body=claim.body)

    async def _secrets(self, claim: Claim) -> list[bytes]:
        """The current one, and the replaced one while it may be used."""
        current = await self._open(claim, claim.secret, previous=False)
        if claim.previous_secret is None:
            return [current]
        return [current, await self._open(claim, claim.previous_secret, previous=True)]

    async def _open(self, claim: Claim, sealed: bytes, *, previous: bool) -> bytes:
        async with self._database.connection() as connection:
            wrapped = await repository.get_data_key(connection, claim.tenant_id, data_key_id_of(sealed))
        if wrapped is None:
            raise CannotOpen
        return self._vault.open_with(
            wrapped, secret_cell(claim.tenant_id, claim.endpoint_id, previous=previous), sealed
        )

    async def _finish(self, claim: Claim, outcome: Outcome) -> None:
        state, delay_seconds = self._next(claim, outcome)
        async with self._database.connection() as connection:
            await repository.lock_endpoint(connection, claim)
            if not await repository.finish_delivery(
                connection, claim, outcome, state=state, delay_seconds=delay_seconds
            ):
                return
            if outcome.succeeded:
                await repository.count_success(connection, claim)
                return
            lasting = await repository.count_failure(connection, claim)
            if reason := self._reason_to_disable(outcome, lasting):
                await repository.disable_endpoint(connection, claim, reason=reason)

    def _next(self, claim: Claim, outcome: Outcome) -> tuple[DeliveryState, float]:
        if outcome.succeeded:
            return DeliveryState.SUCCEEDED, 0.0
        jitter = random.random()  # noqa: S311 - jitter
        delay = retry_delay(claim.attempt, self._settings.webhook_retry_seconds, jitter=jitter)
        if delay is None or outcome.gone:
            return DeliveryState.FAILED, 0.0
        return DeliveryState.PENDING, delay

    def _reason_to_disable(self, outcome: Outcome, lasting: Lasting) -> str:
        if outcome.gone:
            return GONE_REASON
        if lasting.failures >= self._lasting.failures and lasting.hours >= self._lasting.hours:
            return f"{lasting.failures} tries in a row failed, the first {lasting.hours:.0f} hours ago. {outcome.error}"
        return ""
