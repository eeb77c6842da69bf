"""What reaches a subscriber, whatever another one does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nats.js import JetStreamContext

from morningai.bus import subjects
from tests.door import durable_of, live_of, replay_of
from tests.isolation.bus import Crossed, Crossing, forbidden_to_hear
from tests.visitor import Visitor, visit_as

if TYPE_CHECKING:
    from tests.conftest import TestTenant

VERBS = (b"", b"+ACK", b"-NAK", b"+NXT", b"+NXT 10", b'+NXT {"batch":10}', b"+WPI", b"+TERM")
# Whatever is on its way arrives within this time.
QUIET_SECONDS = 0.5


async def assert_hears_only_its_own(url: str, tenants: Iterable[TestTenant], spectator: JetStreamContext) -> None:
    """Each tenant's subscriber tries to hear everything, then one event of each tenant is published. Raises Crossed."""
    everybody = list(tenants)
    visitors = [await visit_as(url, token=tenant.api_key) for tenant in everybody]
    heard = [await _listen(visitor, tenant, everybody) for visitor, tenant in zip(visitors, everybody, strict=True)]
    for tenant in everybody:
        await _publish(spectator, tenant)
    await asyncio.sleep(QUIET_SECONDS)
    for visitor in visitors:
        await visitor.client.close()
    crossings = [
        Crossing(str(tenant.tenant_id), "heard", body)
        for tenant, bodies in zip(everybody, heard, strict=True)
        for body in sorted(bodies - {str(tenant.tenant_id)})
    ]
    if crossings:
        raise Crossed(crossings)
    assert heard == [{str(tenant.tenant_id)} for tenant in everybody], "a subscriber must hear its own events"


async def assert_a_reply_subject_reaches_nobody(
    url: str, own: TestTenant, other: TestTenant, spectator: JetStreamContext
) -> None:
    """`own` names `other`'s subjects, and a service's, as where an answer should go. Raises Crossed."""
    for _ in range(3):
        await _publish(spectator, own)
    victim, attacker = await visit_as(url, token=other.api_key), await visit_as(url, token=own.api_key)
    heard = await _listen(victim, other, [other])
    command = await spectator._nc.subscribe(f"{subjects.COMMANDS_PREFIX}.>")
    await attacker.client.subscribe(replay_of(own))
    live = subjects.public_subject(other.tenant_id, "task", "started")
    for reply in (live, replay_of(other), subjects.command_subject("docs", "work")):
        await _ask(attacker, own, reply)
    await asyncio.sleep(QUIET_SECONDS)
    await victim.client.close()
    await attacker.client.close()
    crossings = [Crossing(str(own.tenant_id), "reached", body or "an empty message") for body in sorted(heard)]
    crossings += [Crossing(str(own.tenant_id), "reached", "a command")] if command.pending_msgs else []
    if crossings:
        raise Crossed(crossings)


async def _ask(attacker: Visitor, own: TestTenant, reply: str) -> None:
    durable = durable_of(own)
    requests = [f"$JS.ACK.PUBLIC.{durable}.1.{number}.{number}.1.0" for number in range(1, 4)]
    requests.append(f"$JS.API.CONSUMER.MSG.NEXT.PUBLIC.{durable}")
    requests.append(f"$JS.API.CONSUMER.INFO.PUBLIC.{durable}")
    for request in requests:
        for body in VERBS:
            await attacker.client.publish(request, body, reply=reply)
    await attacker.client.flush()


async def _listen(visitor: Visitor, own: TestTenant, everybody: Iterable[TestTenant]) -> set[str]:
    """The bodies of what arrives, filled as it does."""
    bodies: set[str] = set()

    async def hear(message: object) -> None:
        bodies.add(message.data.decode())  # type: ignore[attr-defined]

    wanted = {live_of(own), replay_of(own)}
    for other in everybody:
        wanted |= set(forbidden_to_hear(own, other)) if other is not own else set()
    for subject in sorted(wanted):
        await visitor.client.subscribe(subject, cb=hear)
    await visitor.client.flush()
    return bodies


async def _publish(spectator: JetStreamContext, tenant: TestTenant) -> None:
    subject = subjects.public_subject(tenant.tenant_id, "task", "started")
    await spectator.publish(subject, str(tenant.tenant_id).encode())
