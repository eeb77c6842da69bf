"""The subscriber of the guide, as it is printed there, hears what a service publishes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest_asyncio

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.catalogue import CATALOGUE
from morningai.bus.handling import Short
from tests.door import live_of, replay_of

ROOT = Path(__file__).parents[3]
PROGRAM = re.search(r"```python\n(.*?)```", (ROOT / "docs/guides/subscribe.md").read_text(), re.DOTALL).group(1)


async def ignore(session, envelope, message):
    return None


@pytest_asyncio.fixture
async def publish(door, start_service, tenant):
    """What faqgen does when an answer is ready: the event goes through its outbox and its relay."""
    handlers = {message.body: Short(ignore) for message in CATALOGUE if "faqgen" in message.consumers}
    service = await start_service("faqgen", handlers)

    async def generated(answer):
        async with service.database.tenant_session(tenant.grant()) as session:
            return await outbox.emit(session, events.AnswerGenerated(answer=answer), task_id=tenant.open_task(uuid4()))

    return generated


@asynccontextmanager
async def subscriber(nats_url, tenant, subject):
    environment = {"MORNINGAI_BUS": nats_url, "MORNINGAI_API_KEY": tenant.api_key, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, subject), env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    yield process
    process.kill()
    await process.communicate()


async def line(process):
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


def test_the_subscriber_has_ten_lines():
    assert len([text for text in PROGRAM.splitlines() if text.strip()]) == 10


async def test_the_durable_subscriber_goes_on_where_it_was(nats_url, tenant, publish):
    first = await publish("answers/1")
    second = await publish("answers/2")
    async with subscriber(nats_url, tenant, replay_of(tenant)) as process:
        assert await line(process) == f'{first} AnswerGenerated answer: "answers/1"'
        assert await line(process) == f'{second} AnswerGenerated answer: "answers/2"'
    third = await publish("answers/3")
    async with subscriber(nats_url, tenant, replay_of(tenant)) as process:
        heard = await line(process)
        assert heard in {f'{id} AnswerGenerated answer: "answers/{n}"' for id, n in ((second, 2), (third, 3))}


async def test_the_live_subscriber_hears_what_happens_from_now_on(nats_url, tenant, publish):
    await publish("answers/before")
    async with subscriber(nats_url, tenant, live_of(tenant)) as process:
        hearing = asyncio.create_task(line(process))
        while not hearing.done():
            await publish("answers/now")
            await asyncio.wait({hearing}, timeout=0.2)
        assert hearing.result().endswith('AnswerGenerated answer: "answers/now"')
