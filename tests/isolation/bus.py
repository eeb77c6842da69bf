"""What a client of the bus could try, as subjects, and the assertions about it.

test_bus.py asserts them; test_bus_mutations.py takes protections away and expects these very assertions to fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, GENERATORS, subscriptions_of
from morningai.bus.permissions import BUS_OWNER, SERVICES, STREAMS, inbox_prefix
from tests.door import durable_of, live_of, replay_of

if TYPE_CHECKING:
    from tests.conftest import TestTenant
    from tests.visitor import Visitor

# Every request that nats-server 2.15 answers under $JS.API (server/jetstream_api.go), by what its subject names.
OF_NOTHING = (
    *("INFO", "STREAM.NAMES", "STREAM.LIST", "META.LEADER.STEPDOWN", "META.RESCUE", "SERVER.REMOVE"),
    *("SERVER.EVACUATE", "ACCOUNT.PURGE.MORNINGAI", "ACCOUNT.STREAM.MOVE.MORNINGAI.PUBLIC"),
    "ACCOUNT.STREAM.CANCEL_MOVE.MORNINGAI.PUBLIC",
)
OF_A_STREAM = (
    *("STREAM.CREATE", "STREAM.UPDATE", "STREAM.INFO", "STREAM.DELETE", "STREAM.PURGE", "STREAM.SNAPSHOT"),
    *("STREAM.RESTORE", "STREAM.MSG.GET", "STREAM.MSG.DELETE", "STREAM.PEER.REMOVE", "STREAM.PEER.EVACUATE"),
    *("STREAM.LEADER.STEPDOWN", "STREAM.CANCEL_MOVE", "DIRECT.GET"),
    *("CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST"),
)
OF_A_CONSUMER = (
    *("CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.PAUSE"),
    *("CONSUMER.RESET", "CONSUMER.UNPIN", "CONSUMER.LEADER.STEPDOWN", "CONSUMER.MSG.NEXT"),
)
SERVER_REQUESTS = (
    *("$SYS.REQ.USER.AUTH", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ"),
    *("$SYS.REQ.SERVER.PING.KICK", "$SYS.REQ.SERVER.N.KICK", "$SYS.REQ.SERVER.N.RELOAD", "$SYS.REQ.SERVER.N.CONNZ"),
    *("$SYS.REQ.ACCOUNT.SUBSCRIBERS.CONNZ", "$SYS.REQ.ACCOUNT.MORNINGAI.SUBSZ", "$SYS.REQ.CLAIMS.UPDATE"),
    *("$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.ACCOUNT.MORNINGAI.CONNECT", "$SYS.DEBUG.SUBSCRIBERS"),
)
WIDE = (
    *(">", "*", "*.>", "*.*.>", "morningai.>", "morningai.*.>", "morningai.*.*.*.*", "$JS.>", "$JS.API.>"),
    *("$JS.ACK.>", "$JS.EVENT.>", "$JS.FC.>", "$SYS.>", "$SYS.REQ.USER.AUTH", "$SRV.>", "$KV.>", "$O.>", "$MQTT.>"),
    *("_INBOX.>", "_INBOX.*.*", "_R_.>", "_GR_.>", "$NRG.>"),
    *(f"{prefix}.>" for prefix in (subjects.EVENTS_PREFIX, subjects.COMMANDS_PREFIX, subjects.PUBLIC_PREFIX)),
    *(f"{prefix}.>" for prefix in (subjects.REPLAY_PREFIX, subjects.ACKNOWLEDGEMENT_PREFIX)),
    *(f"{subjects.PUBLIC_PREFIX}.*.>", f"{subjects.PUBLIC_PREFIX}.*.*.*", f"{subjects.REPLAY_PREFIX}.*.*"),
)
SERVICE_SUBSCRIPTIONS = tuple(subscription for service in SERVICES for subscription in subscriptions_of(service))
SERVICE_CONSUMERS = tuple(f"{subscription.stream}.{subscription.durable}" for subscription in SERVICE_SUBSCRIPTIONS)


@dataclass(frozen=True)
class Crossing:
    """Something that was done, or heard, and must not be."""

    who: str
    action: str
    subject: str


class Crossed(AssertionError):
    def __init__(self, crossings: Iterable[Crossing]) -> None:
        super().__init__("\n".join(map(str, crossings)))
        self.crossings = list(crossings)


async def assert_may_do_nothing_else(visitor: Visitor, own: TestTenant, other: TestTenant) -> int:
    """Everything that `own`'s key must not do is refused; returns how many calls were tried. Raises Crossed."""
    heard, sent = set(forbidden_to_hear(own, other)), set(forbidden_to_send(own, other))
    await _refused(visitor, str(own.tenant_id), hear=heard, send=sent)
    return len(heard) + len(sent)


async def assert_may_do_what_the_catalogue_says(visitor: Visitor, service: str, tenant: TestTenant) -> int:
    """A service sends what it produces and asks for its own consumers; all else is refused. Raises Crossed."""
    everything = set(messages_of(tenant)) | set(api_calls([f"PUBLIC.{durable_of(tenant)}", *SERVICE_CONSUMERS]))
    everything |= {*SERVER_REQUESTS, *inboxes(), *pulses(), *ticks(tenant), *own_calls(service, tenant)}
    everything.add(replay_of(tenant))
    own_pulse = {subjects.pulse_subject("gateway")} if service == "gateway" else set()
    own = own_calls(service, tenant) | own_messages(service, tenant) | own_pulse
    own |= ticks(tenant, {service} & set(GENERATORS))
    heard = {*WIDE, *messages_of(tenant), *pulses(), live_of(tenant), replay_of(tenant)} - own_pulse
    heard |= ticks(tenant, set(SERVICES) - (set(GENERATORS) if service == "gateway" else set()))
    heard |= {inbox for inbox in inboxes() if not inbox.startswith(f"{inbox_prefix(service)}.")}
    heard -= {f"{subjects.ACKNOWLEDGEMENT_PREFIX}.>"} if service == BUS_OWNER else set()
    await _refused(visitor, service, hear=heard, send=everything - own)
    refused = await visitor.refused_to_publish(sorted(own))
    assert refused == set(), f"{service} must be able to send what the catalogue says"
    return len(heard) + len(everything)


async def assert_may_do_its_three_requests(visitor: Visitor, tenant: TestTenant) -> int:
    """The callout's user asks who is connected, disconnects, and hears who wants to come in. Raises Crossed."""
    own = {subject for subject in SERVER_REQUESTS if subject.endswith((".CONNZ", ".KICK")) and ".SERVER." in subject}
    heard = {*WIDE, *messages_of(tenant), *pulses(), live_of(tenant), replay_of(tenant), "_INBOX.x"}
    heard -= {"$SYS.REQ.USER.AUTH"}
    sent = {*SERVER_REQUESTS, *messages_of(tenant), *pulses(), *api_calls(SERVICE_CONSUMERS), *inboxes()} - own
    await _refused(visitor, "callout", hear=heard, send=sent)
    return len(heard) + len(sent)


async def _refused(visitor: Visitor, who: str, *, hear: set[str], send: set[str]) -> None:
    heard = hear - await visitor.refused_to_subscribe(sorted(hear))
    sent = send - await visitor.refused_to_publish(sorted(send))
    if heard or sent:
        crossings = [Crossing(who, "subscribe", subject) for subject in sorted(heard)]
        raise Crossed(crossings + [Crossing(who, "publish", subject) for subject in sorted(sent)])


def forbidden_to_hear(own: TestTenant, other: TestTenant) -> Iterator[str]:
    yield from WIDE
    yield from messages_of(other)
    yield from (subject for subject in messages_of(own) if not subject.startswith(subjects.PUBLIC_PREFIX))
    yield from (live_of(other), replay_of(other), f"{subjects.REPLAY_PREFIX}.{other.tenant_id}.>")
    yield from (f"{subjects.REPLAY_PREFIX}.{own.tenant_id}.*", f"{subjects.REPLAY_PREFIX}.{own.tenant_id}.mk_other")
    yield from (f"{subjects.EVENTS_PREFIX}.{tenant.tenant_id}.>" for tenant in (own, other))
    yield from (*inboxes(), *pulses(), *ticks(own), *ticks(other), f"{subjects.PROGRESS_PREFIX}.>")
    yield from (f"$JS.ACK.PUBLIC.{durable_of(tenant)}.>" for tenant in (own, other))


def forbidden_to_send(own: TestTenant, other: TestTenant) -> Iterator[str]:
    acknowledgement = f"$JS.ACK.PUBLIC.{durable_of(own)}."
    consumers = [f"PUBLIC.{durable_of(own)}", f"PUBLIC.{durable_of(other)}", "PUBLIC.mine", *SERVICE_CONSUMERS]
    yield from (call for call in api_calls(consumers) if not call.startswith(acknowledgement))
    for tenant in (own, other):
        yield from (*messages_of(tenant), replay_of(tenant))
        yield f"{subjects.ACKNOWLEDGEMENT_PREFIX}.{durable_of(tenant)}.1.1.1.1.0"
    yield from SERVER_REQUESTS
    yield from (*inboxes(), *pulses(), *ticks(own), *ticks(other))


def api_calls(consumers: Iterable[str]) -> Iterator[str]:
    """Every request to JetStream about these consumers, every stream, and JetStream itself."""
    yield from (f"$JS.API.{verb}" for verb in OF_NOTHING)
    for stream in (*STREAMS, "EVIL"):
        yield from (f"$JS.API.{verb}.{stream}" for verb in OF_A_STREAM)
        yield f"$JS.API.DIRECT.GET.{stream}.{subjects.PUBLIC_PREFIX}.x"
        yield f"$JS.SNAPSHOT.ACK.{stream}.x"
    for consumer in consumers:
        stream, _, name = consumer.partition(".")
        yield from (f"$JS.API.{verb}.{consumer}" for verb in OF_A_CONSUMER)
        yield f"$JS.API.CONSUMER.CREATE.{consumer}.{subjects.EVENTS_PREFIX}.>"
        yield f"$JS.ACK.{consumer}.1.1.1.1.0"
        yield f"$JS.FC.{stream}.{name}.x"


def messages_of(tenant: TestTenant) -> Iterator[str]:
    for message in CATALOGUE:
        if message.kind == "event":
            yield subjects.event_subject(tenant.tenant_id, message.context, message.event)
            yield subjects.public_subject(tenant.tenant_id, message.context, message.event)
        else:
            yield from (subjects.command_subject(service, lane) for service, lane in message.consumers.items())


def inboxes() -> list[str]:
    return ["_INBOX.x", "_INBOX.x.y", *(f"{inbox_prefix(name)}.x" for name in (*SERVICES, "callout"))]


def pulses() -> list[str]:
    return [subjects.pulse_subject(name) for name in SERVICES]


def ticks(tenant: TestTenant, services: Iterable[str] = SERVICES) -> set[str]:
    return {subjects.progress_subject(service, tenant.tenant_id) for service in services}


def own_messages(service: str, tenant: TestTenant) -> set[str]:
    """What the catalogue says that a service produces, and the copies of what is public."""
    own = set()
    for message in CATALOGUE:
        if service in message.producers and message.kind == "event":
            own.add(subjects.event_subject(tenant.tenant_id, message.context, message.event))
            copy = subjects.public_subject(tenant.tenant_id, message.context, message.event)
            own |= {copy} if message.public else set()
        elif service in message.producers:
            own |= {subjects.command_subject(other, lane) for other, lane in message.consumers.items()}
    return own


def own_calls(service: str, tenant: TestTenant) -> set[str]:
    """Asking and pulling from a service's own consumers; for the owner of the bus, making everybody's."""
    own: set[str] = set()
    for subscription in subscriptions_of(service):
        consumer = f"{subscription.stream}.{subscription.durable}"
        own |= {f"$JS.API.CONSUMER.{verb}.{consumer}" for verb in ("INFO", "MSG.NEXT")}
        own.add(f"$JS.ACK.{consumer}.1.1.1.1.0")
    return own | _making() | _serving(tenant) if service == BUS_OWNER else own


def _serving(tenant: TestTenant) -> set[str]:
    """Making a key's durable, with no filter but public events, removing it, and passing its acknowledgements on."""
    durable = f"PUBLIC.{durable_of(tenant)}"
    made, removed = f"$JS.API.CONSUMER.CREATE.{durable}.{live_of(tenant)}", f"$JS.API.CONSUMER.DELETE.{durable}"
    return {made, removed, "$JS.API.CONSUMER.NAMES.PUBLIC", f"$JS.ACK.{durable}.1.1.1.1.0"}


def _making() -> set[str]:
    making = {f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "INFO", "UPDATE") for stream in STREAMS}
    for consumer in SERVICE_CONSUMERS:
        making |= {f"$JS.API.CONSUMER.{verb}.{consumer}" for verb in ("CREATE", "DURABLE.CREATE", "INFO")}
        making.add(f"$JS.API.CONSUMER.CREATE.{consumer}.{subjects.EVENTS_PREFIX}.>")
    return making
