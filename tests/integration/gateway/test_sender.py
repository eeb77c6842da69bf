"""The sender against real endpoints: at least once, with one id, signed, bounded, and never inside."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from morningai.db.session import Database
from morningai.egress import AllowList, EgressGuard, Resolver
from morningai.secrets.key_ring import KeyRing, make_key
from morningai.secrets.vault import Vault
from services.gateway.domain.webhooks import EndpointContent, EndpointState, secret_text
from services.gateway.poster import Poster
from services.gateway.repository import webhooks as repository
from services.gateway.sender import Sender
from services.gateway.settings import Settings
from tests.conftest import TestDatabase, TestTenant, eventually
from tests.integration.gateway.certificates import server_context
from tests.integration.gateway.receiver import Receiver, after, answering, endless, once, receiving

SECRET_KEYS = make_key("k1")
SECRET = b"s" * 32
LOCAL = EgressGuard(AllowList.parse(["127.0.0.1"]))
BODY = json.dumps({"type": "task.succeeded", "data": {"text": "ö"}}, ensure_ascii=False)
PLACES = ("database_dsn", "relay_dsn", "nats_url", "nats_user", "nats_password", "grpc_address", "work_dir")
SERVICES = ("orchestrator", "docs", "faqgen", "codegen", "tenancy")


@dataclass
class Hooks:
    """The gateway's rows of webhooks, and senders for them."""

    test_database: TestDatabase
    gateway: Database
    vault: Vault

    async def add(self, tenant: TestTenant, url: str, *event_types: str) -> UUID:
        endpoint_id = uuid4()
        async with self.gateway.tenant_session(tenant.grant()) as session:
            cell = repository.secret_cell(session.tenant_id, endpoint_id)
            sealed = await self.vault.seal(session, cell, SECRET)
            content = EndpointContent(url, event_types, "")
            await repository.insert_endpoint(session, endpoint_id, content, secret=sealed)
        return endpoint_id

    async def happen(self, tenant: TestTenant, count: int = 1, event_type: str = "task.succeeded") -> list[str]:
        """Events as the gateway applies them; their ids."""
        ids = [uuid4() for _ in range(count)]
        async with self.gateway.tenant_session(tenant.grant()) as session:
            for event_id in ids:
                await repository.insert_deliveries(session, event_id=event_id, event_type=event_type, body=BODY)
        return [str(event_id) for event_id in ids]

    async def enable(self, tenant: TestTenant, endpoint_id: UUID) -> None:
        async with self.gateway.tenant_session(tenant.grant()) as session:
            await repository.update_state(session, endpoint_id, EndpointState.ENABLED, reason="")

    async def rotate(self, tenant: TestTenant, endpoint_id: UUID, secret: bytes, *, overlap_seconds: float) -> None:
        async with self.gateway.tenant_session(tenant.grant()) as session:
            current = repository.secret_cell(session.tenant_id, endpoint_id)
            previous = repository.secret_cell(session.tenant_id, endpoint_id, previous=True)
            await repository.replace_secret(
                session,
                endpoint_id,
                secret=await self.vault.seal(session, current, secret),
                previous_secret=await self.vault.seal(session, previous, SECRET),
                overlap_seconds=overlap_seconds,
            )

    def deliveries(self, columns: str = "state, attempts") -> list[tuple[object, ...]]:
        return self.test_database.rows(f"SELECT {columns} FROM gateway.webhook_deliveries ORDER BY delivery_id")

    def endpoints(self, columns: str = "state, disabled_reason") -> list[tuple[object, ...]]:
        return self.test_database.rows(f"SELECT {columns} FROM gateway.webhook_endpoints ORDER BY created_at")

    def states(self) -> set[object]:
        return {state for state, _ in self.deliveries()}

    @asynccontextmanager
    async def sending(
        self, guard: EgressGuard = LOCAL, *, certificate_file: Path | None = None, **settings: object
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A sender that runs inside the block; leaving it is as abrupt as a crash."""
        values = {
            **dict.fromkeys((*PLACES, *(f"{name}_address" for name in SERVICES)), "dbname=unused"),
            "sender_dsn": self.test_database.dsn("gateway_sender"),
            "secret_keys": SECRET_KEYS,
            "webhook_retry_seconds": (0.1,) * 7,
            "webhook_timeout_seconds": 0.5,
            "webhook_lease_seconds": 2.0,
            **settings,
        }
        made = Settings(**values)  # type: ignore[arg-type]
        poster = Poster(guard, timeout_seconds=made.webhook_timeout_seconds, certificate_file=certificate_file)
        sender = Sender(Database(made.sender_dsn, max_connections=4), poster, self.vault, made)
        running = asyncio.create_task(sender.run())
        yield running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def hooks(database: TestDatabase) -> AsyncIterator[Hooks]:
    gateway = Database(database.dsn("gateway_app"))
    await gateway.open()
    yield Hooks(database, gateway, Vault(KeyRing.parse(SECRET_KEYS)))
    await gateway.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


async def test_a_delivery_is_signed_and_carries_the_event_s_id(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    await hooks.add(tenant, receiver.url)
    ids = await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: hooks.states() == {"succeeded"})
    [request] = receiver.received
    assert receiver.ids == ids
    assert request.verified(secret_text(SECRET)) == json.loads(BODY)
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        request.verified(secret_text(b"x" * 32))


FAILURES: dict[str, int | Callable[..., None]] = {
    "a server error": 500,
    "a refusal": 403,
    "no answer in time": after(0.8),
    "a connection that breaks": lambda handler: handler.connection.close(),
    "a redirect": answering(302, location="/elsewhere"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failed_try_is_made_again_with_the_same_id(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver, failure: str
):
    receiver.answers = [FAILURES[failure], FAILURES[failure]]
    await hooks.add(tenant, receiver.url)
    [event_id] = await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: hooks.deliveries() == [("succeeded", 3)])
    assert receiver.ids == [event_id] * 3
    assert {request.path for request in receiver.received} == {"/hook"}
    assert hooks.endpoints("consecutive_failures, failing_since") == [(0, None)]


async def test_an_endpoint_that_is_down_is_tried_until_it_is_up(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    with receiving() as down:
        url = down.url
    endpoint_id = await hooks.add(tenant, url)
    [event_id] = await hooks.happen(tenant)
    async with hooks.sending(webhook_retry_seconds=(0.1,) * 100):
        await eventually(lambda: int(str(hooks.deliveries("attempts")[0][0])) >= 2)
        assert "connection failed" in str(hooks.deliveries("error")[0][0])
        await hooks.test_database.change(
            f"UPDATE gateway.webhook_endpoints SET url = '{receiver.url}' WHERE endpoint_id = '{endpoint_id}'"
        )
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert receiver.ids == [event_id]


async def test_tries_come_to_an_end(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = answering(500, body=b"out of order")
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending(webhook_retry_seconds=(0.05, 0.05)):
        await eventually(lambda: hooks.states() == {"failed"})
        await asyncio.sleep(0.3)
    assert len(receiver.received) == 3
    [(status, body, error)] = hooks.deliveries("response_status, response_body, error")
    assert (status, body, error) == (500, "out of order", "The endpoint answered 500.")
    assert hooks.endpoints() == [("enabled", "")]


async def test_tries_are_further_and_further_apart(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = 500
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending(webhook_retry_seconds=(100.0, 200.0)):
        await eventually(lambda: receiver.received and hooks.deliveries("claim_id") == [(None,)])
    wait = "extract(epoch FROM due_at - now())::float"
    [(seconds,)] = hooks.deliveries(wait)
    assert 95 < float(str(seconds)) <= 120
    await hooks.test_database.change("UPDATE gateway.webhook_deliveries SET due_at = now()")
    async with hooks.sending(webhook_retry_seconds=(100.0, 200.0)):
        await eventually(lambda: hooks.deliveries("attempts, claim_id") == [(2, None)])
    [(seconds,)] = hooks.deliveries(wait)
    assert 195 < float(str(seconds)) <= 240


async def test_an_endpoint_that_is_gone_is_disabled(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = 410
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: hooks.endpoints() == [("disabled", "The endpoint answered 410 Gone.")])
    assert hooks.deliveries() == [("failed", 1)]
    await hooks.happen(tenant)
    assert hooks.deliveries() == [("failed", 1)]


async def test_lasting_failure_disables_an_endpoint_which_can_be_enabled_again(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver
):
    receiver.answer = 500
    endpoint_id = await hooks.add(tenant, receiver.url)
    ids = await hooks.happen(tenant, 2)
    lasting = {"webhook_lasting_failures": 3, "webhook_lasting_hours": 5.0, "webhook_retry_seconds": (0.1,) * 100}
    async with hooks.sending(**lasting):
        await eventually(lambda: len(receiver.received) >= 6)
        assert hooks.endpoints() == [("enabled", "")]
        await hooks.test_database.change(
            "UPDATE gateway.webhook_endpoints SET failing_since = now() - interval '6 hours'"
        )
        await eventually(lambda: hooks.endpoints("state") == [("disabled",)])
        await eventually(lambda: receiver.at_once == 0)
        assert "tries in a row failed, the first 6 hours ago" in str(hooks.endpoints("disabled_reason"))
        tried = len(receiver.received)
        await asyncio.sleep(0.5)
        assert len(receiver.received) <= tried + 1
        receiver.answer = 200
        await hooks.enable(tenant, endpoint_id)
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert set(receiver.ids) == set(ids)
    assert hooks.endpoints() == [("enabled", "")]


async def test_a_sender_that_dies_between_posting_and_recording_posts_again(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver
):
    gate = threading.Event()
    receiver.answers = [once(gate)]
    await hooks.add(tenant, receiver.url)
    [event_id] = await hooks.happen(tenant)
    async with hooks.sending(webhook_timeout_seconds=5.0, webhook_lease_seconds=7.0):
        await eventually(lambda: receiver.received)
    gate.set()
    assert hooks.deliveries() == [("pending", 1)]
    await hooks.test_database.change("UPDATE gateway.webhook_deliveries SET due_at = due_at - interval '6 seconds'")
    async with hooks.sending():
        await eventually(lambda: hooks.deliveries() == [("succeeded", 2)])
    assert receiver.ids == [event_id] * 2


async def test_a_sender_that_dies_before_posting_loses_nothing(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    """Whenever it dies: twenty senders are killed, each a moment later in its life than the one before."""
    await hooks.add(tenant, receiver.url)
    ids = await hooks.happen(tenant, 30)
    receiver.answer = after(0.02)
    for number in range(20):
        async with hooks.sending(webhook_lease_seconds=1.6):
            await asyncio.sleep(number * 0.01)
    async with hooks.sending():
        await eventually(lambda: hooks.states() == {"succeeded"}, seconds=20)
    assert set(receiver.ids) == set(ids)


async def test_what_outlives_its_claim_is_recorded_by_who_holds_it_now(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver
):
    gate = threading.Event()
    receiver.answers = [once(gate, status=500)]
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending(webhook_timeout_seconds=5.0, webhook_lease_seconds=7.0):
        await eventually(lambda: receiver.received)
        await hooks.test_database.change("UPDATE gateway.webhook_deliveries SET due_at = now()")
        async with hooks.sending():
            await eventually(lambda: hooks.deliveries() == [("succeeded", 2)])
        gate.set()
        await eventually(lambda: receiver.at_once == 0)
        await asyncio.sleep(0.3)
        assert hooks.deliveries() == [("succeeded", 2)]
        assert hooks.endpoints("consecutive_failures") == [(0,)]


async def test_replicas_share_the_work_within_the_bounds(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = after(0.05)
    await hooks.add(tenant, receiver.url)
    ids = await hooks.happen(tenant, 40)
    bounds = {"webhook_slots_per_endpoint": 3, "webhook_timeout_seconds": 5.0, "webhook_lease_seconds": 10.0}
    async with hooks.sending(**bounds), hooks.sending(**bounds), hooks.sending(**bounds):
        await eventually(lambda: hooks.states() == {"succeeded"}, seconds=30)
    assert sorted(receiver.ids) == sorted(ids)
    assert 1 < receiver.most_at_once <= 3


async def test_a_tenant_takes_no_more_than_its_share(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = after(0.1)
    await hooks.add(tenant, receiver.url)
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant, 15)
    bounds = {"webhook_slots_per_endpoint": 4, "webhook_slots_per_tenant": 5, "webhook_timeout_seconds": 5.0}
    async with hooks.sending(**bounds, webhook_lease_seconds=10.0):
        await eventually(lambda: hooks.states() == {"succeeded"}, seconds=30)
    assert len(receiver.received) == 30
    assert receiver.most_at_once == 5


async def test_a_tenant_that_deletes_its_endpoints_has_no_more_tries_for_it(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver
):
    gate = threading.Event()
    receiver.answer = once(gate)
    bounds = {"webhook_slots_per_endpoint": 3, "webhook_slots_per_tenant": 3, "webhook_timeout_seconds": 8.0}
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant, 3)
    async with hooks.sending(**bounds, webhook_lease_seconds=10.0):
        await eventually(lambda: receiver.at_once == 3)
        await hooks.test_database.change("DELETE FROM gateway.webhook_endpoints")
        await hooks.add(tenant, receiver.url)
        await hooks.happen(tenant, 3)
        await asyncio.sleep(5.5)  # the sender of this test looks by itself within five seconds
        assert len(receiver.received) == 3
        gate.set()
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert (len(receiver.received), receiver.most_at_once) == (6, 3)


async def away(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "again")


async def silent(host: str, port: int) -> list[str]:
    await asyncio.sleep(20)
    return []


@pytest.mark.parametrize("resolver", [away, silent])
async def test_a_resolver_that_is_away_disables_no_endpoint(hooks: Hooks, tenant: TestTenant, resolver: Resolver):
    await hooks.add(tenant, "https://hooks.example/hook")
    await hooks.happen(tenant)
    lasting = {"webhook_lasting_failures": 2, "webhook_lasting_hours": 0.0}
    async with hooks.sending(EgressGuard(resolver=resolver), webhook_retry_seconds=(0.01,) * 3, **lasting):
        await eventually(lambda: hooks.deliveries() == [("failed", 4)], seconds=40)
    assert hooks.endpoints("state, consecutive_failures") == [("enabled", 0)]


async def test_what_was_due_waits_while_its_endpoint_is_disabled(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    endpoint_id = await hooks.add(tenant, receiver.url)
    [event_id] = await hooks.happen(tenant)
    await hooks.test_database.change("UPDATE gateway.webhook_endpoints SET state = 'disabled'")
    async with hooks.sending():
        await asyncio.sleep(0.7)
        assert hooks.deliveries() == [("pending", 0)]
        await hooks.enable(tenant, endpoint_id)
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert receiver.ids == [event_id]


async def test_a_disabled_or_deleted_endpoint_is_not_tried_again(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = 500
    disabled, deleted = await hooks.add(tenant, receiver.url), await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending(webhook_retry_seconds=(1.0,) * 7):
        await eventually(lambda: hooks.deliveries("attempts, claim_id") == [(1, None)] * 2)
        where = "WHERE endpoint_id ="
        await hooks.test_database.change(f"DELETE FROM gateway.webhook_endpoints {where} '{deleted}'")
        await hooks.test_database.change(
            f"UPDATE gateway.webhook_endpoints SET state = 'disabled' {where} '{disabled}'"
        )
        await asyncio.sleep(1.6)
        assert len(receiver.received) == 2


SUSPEND = "UPDATE tenancy.tenants SET state = 'suspended' WHERE tenant_id = '{}'"
RESUME = "UPDATE tenancy.tenants SET state = 'active'"


async def test_nothing_is_posted_for_a_suspended_tenant_until_it_is_resumed(
    hooks: Hooks, database: TestDatabase, tenant: TestTenant, receiver: Receiver
):
    other = database.create_tenant("other")
    await hooks.add(tenant, receiver.url)
    [event_id] = await hooks.happen(tenant)
    await database.change(SUSPEND.format(tenant.tenant_id))
    with receiving() as bystander:
        await hooks.add(other, bystander.url)
        await hooks.happen(other)
        async with hooks.sending():
            await eventually(lambda: len(bystander.received) == 1)
            await asyncio.sleep(0.7)
            assert (receiver.received, sorted(hooks.deliveries())) == ([], [("pending", 0), ("succeeded", 1)])
            await database.change(RESUME)
            await eventually(lambda: hooks.states() == {"succeeded"})
    assert receiver.ids == [event_id]


async def test_a_tenant_suspended_between_two_tries_has_the_tries_that_were_left_after_it_is_resumed(
    hooks: Hooks, database: TestDatabase, tenant: TestTenant, receiver: Receiver
):
    receiver.answer = 500
    await hooks.add(tenant, receiver.url)
    [event_id] = await hooks.happen(tenant)
    async with hooks.sending(webhook_retry_seconds=(1.0, 0.1)):
        await eventually(lambda: hooks.deliveries("attempts, claim_id") == [(1, None)])
        await database.change(SUSPEND.format(tenant.tenant_id))
        await asyncio.sleep(1.6)
        assert (len(receiver.received), hooks.deliveries()) == (1, [("pending", 1)])
        await database.change(RESUME)
        await eventually(lambda: hooks.deliveries() == [("failed", 3)])
    assert receiver.ids == [event_id] * 3


async def test_what_is_under_way_when_its_tenant_is_suspended_is_not_tried_again(
    hooks: Hooks, database: TestDatabase, tenant: TestTenant, receiver: Receiver
):
    gate = threading.Event()
    receiver.answers = [once(gate, status=500)]
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending(webhook_timeout_seconds=5.0, webhook_lease_seconds=7.0):
        await eventually(lambda: receiver.received)
        await database.change(SUSPEND.format(tenant.tenant_id))
        gate.set()
        await eventually(lambda: hooks.deliveries("attempts, claim_id") == [(1, None)])
        await asyncio.sleep(0.7)
    assert (len(receiver.received), hooks.deliveries()) == (1, [("pending", 1)])


async def test_a_dead_endpoint_holds_up_nobody_else(
    hooks: Hooks, database: TestDatabase, tenant: TestTenant, receiver: Receiver
):
    other = database.create_tenant("other")
    with receiving() as slow:
        slow.answer = after(3.0)
        await hooks.add(tenant, slow.url)
        await hooks.happen(tenant, 100)
        await hooks.add(other, receiver.url)
        bounds = {"webhook_slots": 6, "webhook_slots_per_endpoint": 2, "webhook_slots_per_tenant": 4}
        async with hooks.sending(**bounds, webhook_timeout_seconds=2.5, webhook_lease_seconds=10.0):
            await eventually(lambda: slow.most_at_once == 2)
            began = time.monotonic()
            await hooks.happen(other, 20)
            await eventually(lambda: len(receiver.received) == 20, seconds=30)
            # The sender of this test is not woken by the insertion: it looks by itself within five seconds.
            assert time.monotonic() - began < 7.5


async def test_a_replaced_secret_signs_too_for_a_while(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    endpoint_id = await hooks.add(tenant, receiver.url)
    await hooks.rotate(tenant, endpoint_id, b"n" * 32, overlap_seconds=60)
    await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: hooks.states() == {"succeeded"})
    for secret in (SECRET, b"n" * 32):
        assert receiver.received[0].verified(secret_text(secret)) == json.loads(BODY)
    await hooks.test_database.change("UPDATE gateway.webhook_endpoints SET previous_secret_expires_at = now()")
    await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: len(receiver.received) == 2)
    assert receiver.received[1].verified(secret_text(b"n" * 32)) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verified(secret_text(SECRET))


async def test_a_secret_moved_from_another_endpoint_signs_nothing(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    await hooks.add(tenant, receiver.url, "task.failed")
    await hooks.add(tenant, receiver.url, "task.succeeded")
    move = "UPDATE gateway.webhook_endpoints SET secret = (SELECT min(secret) FROM gateway.webhook_endpoints)"
    await hooks.test_database.change(f"{move} WHERE secret > (SELECT min(secret) FROM gateway.webhook_endpoints)")
    await hooks.happen(tenant, event_type="task.failed")
    await hooks.happen(tenant, event_type="task.succeeded")
    async with hooks.sending(webhook_retry_seconds=()):
        await eventually(lambda: hooks.states() == {"succeeded", "failed"})
    assert len(receiver.received) == 1
    assert ("A stored secret cannot be opened.",) in hooks.deliveries("error")


async def test_a_redirect_is_not_followed(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    with receiving() as elsewhere:
        receiver.answer = answering(307, location=elsewhere.url)
        await hooks.add(tenant, receiver.url)
        await hooks.happen(tenant)
        async with hooks.sending(webhook_retry_seconds=()):
            await eventually(lambda: hooks.states() == {"failed"})
        assert elsewhere.received == []
    assert hooks.deliveries("error") == [("The endpoint answered 307. Redirects are not followed.",)]


async def test_of_an_endless_answer_only_the_beginning_is_kept(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    taken: list[int] = []
    receiver.answer = endless(taken)
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert hooks.deliveries("response_body") == [("x" * 512,)]
    await eventually(lambda: receiver.at_once == 0)
    assert sum(taken) < 20_000_000


async def test_an_answer_that_no_row_can_hold_is_cleaned(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    receiver.answer = answering(200, body=b"a\x00b\xff\x1b[31m")
    await hooks.add(tenant, receiver.url)
    await hooks.happen(tenant)
    async with hooks.sending():
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert hooks.deliveries("response_body") == [("ab�[31m",)]


INSIDE = {
    "loopback": "https://127.0.0.1:{port}/hook",
    "loopback without encryption": "http://127.0.0.1:{port}/hook",
    "loopback of version 6": "https://[::1]:{port}/hook",
    "loopback as a number": "https://2130706433:{port}/hook",
    "a link-local address": "https://169.254.1.1/hook",
    "the cloud's metadata": "https://169.254.169.254/latest/meta-data",
    "a private address": "https://10.0.0.1/hook",
    "an internal name": "https://localhost:{port}/hook",
}


@pytest.mark.parametrize("place", INSIDE)
async def test_nothing_is_posted_inside(hooks: Hooks, tenant: TestTenant, receiver: Receiver, place: str):
    """Though the row is there: an endpoint that was public when it was made may be internal when it is posted to."""
    await hooks.add(tenant, INSIDE[place].format(port=receiver.port))
    await hooks.happen(tenant)
    async with hooks.sending(EgressGuard(), webhook_retry_seconds=()):
        await eventually(lambda: hooks.states() == {"failed"})
    assert receiver.received == []
    assert "internal address" in str(hooks.deliveries("error"))


def resolving(*answers: str, allowed: tuple[str, ...] = ()) -> tuple[EgressGuard, list[str]]:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return list(answers)

    return EgressGuard(AllowList.parse(allowed), resolver), asked


async def test_a_public_name_that_stands_for_an_internal_address_is_refused(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver
):
    guard, _ = resolving("127.0.0.1")
    await hooks.add(tenant, f"https://hooks.example:{receiver.port}/hook")
    await hooks.happen(tenant)
    async with hooks.sending(guard, webhook_retry_seconds=()):
        await eventually(lambda: hooks.states() == {"failed"})
    assert receiver.received == []


async def test_a_public_host_is_not_posted_to_without_encryption(hooks: Hooks, tenant: TestTenant):
    guard, _ = resolving("8.8.8.8")
    await hooks.add(tenant, "http://hooks.example/hook")
    await hooks.happen(tenant)
    async with hooks.sending(guard, webhook_retry_seconds=()):
        await eventually(lambda: hooks.states() == {"failed"})
    assert hooks.deliveries("error") == [("The address is not an https address.",)]


async def test_the_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(
    hooks: Hooks, tenant: TestTenant, receiver: Receiver
):
    guard, asked = resolving("127.0.0.1", allowed=("hooks.example",))
    await hooks.add(tenant, f"http://hooks.example:{receiver.port}/hook?a=b")
    await hooks.happen(tenant)
    async with hooks.sending(guard):
        await eventually(lambda: hooks.states() == {"succeeded"})
    assert asked == ["hooks.example"]
    [request] = receiver.received
    assert (request.path, request.headers["host"]) == ("/hook?a=b", f"hooks.example:{receiver.port}")


async def test_a_host_s_next_address_is_tried(hooks: Hooks, tenant: TestTenant, receiver: Receiver):
    guard, _ = resolving("127.0.0.2", "127.0.0.1", allowed=("hooks.example",))
    await hooks.add(tenant, f"http://hooks.example:{receiver.port}/hook")
    await hooks.happen(tenant)
    async with hooks.sending(guard):
        await eventually(lambda: hooks.deliveries() == [("succeeded", 1)])


async def test_the_certificate_must_be_the_host_s_though_an_address_is_connected_to(
    hooks: Hooks, tenant: TestTenant, tmp_path: Path
):
    tls, authority = server_context(tmp_path, "hooks.example")
    guard, _ = resolving("127.0.0.1", allowed=("hooks.example", "other.example"))
    with receiving(tls) as receiver:
        await hooks.add(tenant, f"https://hooks.example:{receiver.port}/hook")
        [event_id] = await hooks.happen(tenant)
        async with hooks.sending(guard, certificate_file=authority):
            await eventually(lambda: hooks.states() == {"succeeded"})
        assert receiver.ids == [event_id]
        await hooks.test_database.change(
            f"UPDATE gateway.webhook_endpoints SET url = 'https://other.example:{receiver.port}/hook'"
        )
        await hooks.happen(tenant)
        async with hooks.sending(guard, certificate_file=authority, webhook_retry_seconds=()):
            await eventually(lambda: hooks.states() == {"succeeded", "failed"})
        assert receiver.ids == [event_id]
    assert "CERTIFICATE_VERIFY_FAILED" in str(hooks.deliveries("error")[-1])
