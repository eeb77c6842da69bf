"""Tasks of every kind from several tenants, asked for, watched, repeated and cancelled as impatient clients do."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import grpc

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.subscriptions.v1 import subscriptions_pb2 as subscriptions
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from morningai.cli.gateway import Gateway
from morningai.cli.repository import find_repository, upload_parts, write_bundle
from tests.chaos.platform import ChaosPlatform
from tests.chaos.recorders.client import RecordingClient, record_tenant
from tests.chaos.recorders.forge import Forge, Forges
from tests.e2e.model import ScriptedModel
from tests.e2e.platform import ENDED, eventually
from tests.e2e.replies import ANSWERING, REWORDED, REWORDING, RIGHT_FUNCTION, answer_about
from tests.e2e.repositories import calculator, git, knowledge, make_repository, question_about

TENANTS = 3
# The one whose deliveries nobody has to approve.
UNASKED_TENANT = 0
AT_ONCE = 16
KINDS = (("answer",), ("faq",), ("document",), ("answer", "faq"), ("faq", "document"), ("answer", "faq", "document"))
CHANGES = 0.03
# Every so many tasks, one is a change that is delivered; the tenants take turns.
DELIVERY_EVERY = 18
# By then a change may be pushed.
LATEST_CANCEL_SECONDS = 8.0
REPEATS = 0.1
CANCELS = 0.06
WATCHES = 0.5
ANSWER_SECONDS = 0.4
PATIENCE_SECONDS = 240.0
POLL_SECONDS = 0.5
LIMITS = {"create_task_calls_per_minute": 100_000, "create_task_calls_burst": 10_000}


@dataclass(frozen=True)
class Order:
    """What one client does, drawn before anything happens."""

    number: int
    tenant: int
    kinds: tuple[str, ...]
    request_id: str
    repeats: bool
    cancels_after: float | None
    watches: bool
    delivers: bool = False
    rejects: bool = False

    @property
    def delivery(self) -> api.Delivery | None:
        """To a branch of its own name, or of the task's."""
        name = f"chaos/{self.request_id[:13]}" if self.number % 4 == 1 else ""
        return api.Delivery(branch=name) if self.delivers else None


def make_orders(seed: int, count: int) -> list[Order]:
    chance = random.Random(seed)
    orders = [_order(chance, number) for number in range(count)]
    for place, number in enumerate(range(DELIVERY_EVERY // 2, count, DELIVERY_EVERY)):
        late = chance.uniform(2.0, LATEST_CANCEL_SECONDS) if place % 6 == 3 else None
        made = replace(delivering(orders[number]), tenant=place % TENANTS, cancels_after=late)
        orders[number] = replace(made, rejects=place % 4 == 2)
    return orders


def delivering(order: Order) -> Order:
    return replace(order, kinds=("change",), delivers=True)


def _order(chance: random.Random, number: int) -> Order:
    changes = chance.random() < CHANGES
    return Order(
        number=number,
        tenant=chance.randrange(TENANTS),
        kinds=("change",) if changes else chance.choice(KINDS),
        request_id=str(UUID(int=chance.getrandbits(128), version=4)),
        repeats=chance.random() < REPEATS,
        cancels_after=chance.uniform(0.0, 1.5) if chance.random() < CANCELS else None,
        watches=chance.random() < WATCHES,
    )


@dataclass
class Customer:
    """A tenant's two ways in, one for each gateway."""

    slug: str
    word: str
    clients: tuple[RecordingClient, RecordingClient]
    notes: str = ""
    code: str = ""
    # The same, in a remote.
    forge: str = ""


@dataclass
class Seen:
    """What the clients saw; threads share it."""

    asked: int = 0
    acknowledged: set[str] = field(default_factory=set)
    ends: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def problem(self, text: str) -> None:
        with self.lock:
            self.problems.append(text)


def slug_of(number: int) -> str:
    return f"chaos-{number}"


SLUGS = [slug_of(number) for number in range(TENANTS)]


def word_of(number: int) -> str:
    return f"zepchaos{'abcdefgh'[number]}"


def slug_in(prompt: str) -> str | None:
    """Whose prompt it is, by the tenant's word; None where it does not say."""
    found = [slug_of(number) for number in range(TENANTS) if word_of(number) in prompt]
    return found[0] if len(found) == 1 else None


def teach(model: ScriptedModel, word: str) -> None:
    slowly = {"delay_seconds": ANSWER_SECONDS}
    model.teach(word, ANSWERING, replies=(answer_about(word).model_copy(update=slowly),))
    model.teach(word, REWORDING, replies=(REWORDED.model_copy(update=slowly),))
    model.teach(word, replies=(RIGHT_FUNCTION.model_copy(update=slowly),))


@contextmanager
def customers(platform: ChaosPlatform, model: ScriptedModel, receiver: str, forges: Forges) -> Iterator[list[Customer]]:
    with ExitStack() as stack:
        yield [_customer(platform, model, receiver, forges, stack, number) for number in range(TENANTS)]


def _customer(
    platform: ChaosPlatform, model: ScriptedModel, receiver: str, forges: Forges, stack: ExitStack, number: int
) -> Customer:
    slug, word = slug_of(number), word_of(number)
    teach(model, word)
    with platform.operator() as operator:
        made = operator.call(
            operator.tenants.CreateTenant,
            tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug, display_name=slug)),
            repeatable=False,
        )
        changes = [usage.LimitChange(name=name, value=value) for name, value in LIMITS.items()]
        request = usage.UpdateTenantLimitsRequest(tenant=made.tenant.name, changes=changes)
        operator.call(operator.usage.UpdateTenantLimits, request)
    record_tenant(platform.folder, slug, made.tenant.name.removeprefix("tenants/"))
    with platform.gateway(0, made.api_key) as gateway:
        endpoint = subscriptions.WebhookEndpoint(url=f"{receiver}/{slug}/all")
        gateway.call(
            gateway.subscriptions.CreateWebhookEndpoint,
            subscriptions.CreateWebhookEndpointRequest(webhook_endpoint=endpoint),
            repeatable=False,
        )
    first, second = (
        stack.enter_context(RecordingClient(platform.folder, f"127.0.0.1:{port}", tenant=slug, key=made.api_key))
        for port in platform.ports
    )
    customer = Customer(slug, word, (first, second))
    customer.notes = _source(first, platform.folder / "sources" / slug / "notes", knowledge(word))
    customer.code = _source(first, platform.folder / "sources" / slug / "code", calculator(word))
    with platform.gateway(0, made.api_key) as gateway:
        customer.forge = _remote_source(gateway, platform.folder / "sources" / slug / "code", forges.of[slug])
    first.set_approval_policy(self_approval=True, unapproved_delivery=number == UNASKED_TENANT)
    _index(first, word, customer)
    return customer


def _remote_source(gateway: Gateway, repository: Path, forge: Forge) -> str:
    git(repository, "push", "--quiet", str(forge.repository), "main")
    remote = sources.Source(remote_uri=forge.uri)
    request = sources.CreateSourceRequest(source_id="forge", source=remote)
    source = gateway.call(gateway.sources.CreateSource, request, repeatable=False)
    credential = sources.SetSourceCredentialRequest(name=source.name, token=forge.token)
    gateway.call(gateway.sources.SetSourceCredential, credential)
    return source.name


def _index(client: RecordingClient, word: str, customer: Customer) -> None:
    """Before the load, so that its tasks need not wait for one another."""
    for source in (customer.notes, customer.code, customer.forge):
        name = client.create_task(question_about(word), source, ("answer",))
        eventually(f"{source} is indexed", lambda name=name: client.get_task(name).state in ENDED)


def _source(client: RecordingClient, folder: Path, files: dict[str, str]) -> str:
    repository = find_repository(make_repository(folder, files))
    bundle = folder.with_suffix(".bundle")
    write_bundle(repository, bundle)
    return client.upload(lambda: upload_parts(folder.name, repository, bundle)).name


class Load:
    def __init__(self, people: list[Customer]) -> None:
        self._people = people
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="client")
        self._running: list[Future[None]] = []
        self.seen = Seen()

    def start(self, orders: list[Order]) -> None:
        self._running += [self._pool.submit(self._serve, order) for order in orders]

    @property
    def under_way(self) -> bool:
        return not all(one.done() for one in self._running)

    def finish(self) -> None:
        self._pool.shutdown(wait=True)
        for one in self._running:
            one.result()

    def _serve(self, order: Order) -> None:
        with self.seen.lock:
            self.seen.asked += 1
        try:
            self._ask(order)
        except (grpc.RpcError, TimeoutError) as error:
            self.seen.problem(f"order {order.number}: {type(error).__name__}: {error}")

    def _ask(self, order: Order) -> None:
        customer = self._people[order.tenant]
        clients = customer.clients if order.number % 2 else customer.clients[::-1]
        changes = "change" in order.kinds
        instruction = f"Make the tests of {customer.word} pass." if changes else question_about(customer.word)
        source = customer.forge if order.delivers else customer.code if changes else customer.notes
        name = self._create(clients, instruction, source, order)
        with self.seen.lock:
            self.seen.acknowledged.add(name)
        if order.repeats:
            self._repeat(name, clients[1], instruction, source, order)
        if order.cancels_after is not None:
            time.sleep(order.cancels_after)
            clients[0].cancel_task(name)
        end = (self._watch if order.watches else self._poll)(clients, name, order)
        with self.seen.lock:
            self.seen.ends[name] = end

    def _create(self, clients: tuple[RecordingClient, ...], instruction: str, source: str, order: Order) -> str:
        """By the other gateway when one does not answer for a while."""
        for number in range(8):
            try:
                return clients[number % 2].create_task(
                    instruction, source, order.kinds, request_id=order.request_id, delivery=order.delivery, seconds=8.0
                )
            except grpc.RpcError as error:
                last = error
        raise last

    def _repeat(self, name: str, client: RecordingClient, instruction: str, source: str, order: Order) -> None:
        again = client.create_task(
            instruction, source, order.kinds, request_id=order.request_id, delivery=order.delivery
        )
        if again != name:
            self.seen.problem(f"request {order.request_id} gave {name} and then {again}")

    def _decide(self, clients: tuple[RecordingClient, ...], name: str, order: Order) -> None:
        """And the contrary at the other gateway, where it comes too late."""
        for approval in clients[0].open_approvals(name):
            choices = [RecordingClient.approve, RecordingClient.reject]
            decide, contradict = reversed(choices) if order.rejects else choices
            decide(clients[0], approval)
            contradict(clients[1], approval)

    def _poll(self, clients: tuple[RecordingClient, ...], name: str, order: Order) -> str:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            task = clients[0].get_task(name)
            if task.state in ENDED:
                return api.TaskState.Name(task.state)
            if task.state == api.TASK_STATE_WAITING_FOR_APPROVAL:
                self._decide(clients, name, order)
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{name} did not end within {PATIENCE_SECONDS:g} s")

    def _watch(self, clients: tuple[RecordingClient, ...], name: str, order: Order) -> str:
        """Resumed from the last sequence at either gateway."""
        give_up, sequence, tries = time.monotonic() + PATIENCE_SECONDS, 0, 0
        while time.monotonic() < give_up:
            for event in clients[tries % 2].watch_task(name, after=sequence):
                sequence = event.sequence
                if event.task_state in ENDED:
                    return api.TaskState.Name(event.task_state)
                if event.task_state == api.TASK_STATE_WAITING_FOR_APPROVAL:
                    self._decide(clients, name, order)
            tries += 1
            time.sleep(0.2)
        raise TimeoutError(f"{name} did not end within {PATIENCE_SECONDS:g} s")
