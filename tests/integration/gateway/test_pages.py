"""Listings at the real gateway: every row once, and pages that fit into a message."""

from __future__ import annotations

import json
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.rpc.pages import LARGEST_PAGE_BYTES
from tests.integration.gateway.platform import cancelled_task, first_events, new_task, upload


async def pages_of(method, request, **size):
    """Every page of a listing."""
    pages = [await method(request(**size))]
    while pages[-1].next_page_token:
        pages.append(await method(request(**size, page_token=pages[-1].next_page_token)))
    return pages


def fill_feed(platform, tenant, name, *, count, summary):
    """Further events of a task whose last is its fourth, as they would be kept."""
    task_id = name.removeprefix("tasks/")
    insert = (
        "INSERT INTO gateway.task_events (tenant_id, task_id, sequence, trace_id, event) VALUES (%s, %s, %s, %s, %s)"
    )
    step = api.Step(step="index", summary=summary)
    events = [api.TaskEvent(task=name, sequence=number, step=step) for number in range(5, 5 + count)]
    rows = [(tenant.tenant_id, task_id, e.sequence, "a" * 32, e.SerializeToString()) for e in events]
    with psycopg.connect(platform.database.admin_dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(insert, rows)


@pytest.mark.parametrize("size", [2, 4, 5])
async def test_the_events_of_a_task_and_of_a_trace_come_in_pages(client, size):
    task = await cancelled_task(client)
    events = await first_events(client, task, 6)
    for selected in ({"name": task.name}, {"trace_id": task.trace_id}):
        request = partial(api.ListTaskEventsRequest, **selected)
        pages = await pages_of(client.tasks.ListTaskEvents, request, page_size=size)
        assert [event for page in pages for event in page.events] == events
        assert [len(page.events) for page in pages[:-1]] == [size] * ((6 - 1) // size)


async def test_pages_of_large_events_fit_into_a_message(client, platform, acme):
    task = await client.tasks.CreateTask(new_task())
    await first_events(client, task, 4)
    fill_feed(platform, acme, task.name, count=300, summary="x" * 30_000)
    pages = await pages_of(client.tasks.ListTaskEvents, partial(api.ListTaskEventsRequest, name=task.name))
    assert sum(len(page.events) for page in pages) == 304
    assert max(page.ByteSize() for page in pages) < 1.1 * LARGEST_PAGE_BYTES


async def test_a_watch_gives_more_events_than_are_read_at_once(client, platform, acme):
    task = await client.tasks.CreateTask(new_task())
    await first_events(client, task, 4)
    fill_feed(platform, acme, task.name, count=1200, summary="")
    events = await first_events(client, task, 1204)
    assert [event.sequence for event in events] == list(range(1, 1205))


async def test_pages_of_large_tasks_fit_into_a_message(client, platform, acme):
    await platform.database.change(
        "INSERT INTO gateway.tasks (tenant_id, task_id, request_id, principal, instruction, source, kinds, state,"
        f" trace_id) SELECT '{acme.tenant_id}', gen_random_uuid(), gen_random_uuid(), 'key:x', repeat('x', 20000),"
        " 'sources/small', '{answer}', 'queued', repeat('a', 32) FROM generate_series(1, 400)"
    )
    pages = await pages_of(client.tasks.ListTasks, api.ListTasksRequest, page_size=500)
    names = [task.name for page in pages for task in page.tasks]
    assert (len(names), len(set(names))) == (400, 400)
    assert max(page.ByteSize() for page in pages) < 1.1 * LARGEST_PAGE_BYTES


async def test_sources_come_in_pages_by_name(client, bundle):
    for name in ("zeta", "alpha", "beta", "gamma"):
        await upload(client, bundle, source_id=name)
    pages = await pages_of(client.sources.ListSources, sources.ListSourcesRequest, page_size=2)
    names = [[source.name.removeprefix("sources/") for source in page.sources] for page in pages]
    assert names == [["alpha", "beta"], ["gamma", "small"], ["zeta"]]


async def test_pages_of_large_documents_fit_into_a_message(client, platform, acme):
    keys = ("task", "trace_id", "engine", "model", "prompt_version", "repository", "commit")
    await platform.database.change(
        "WITH made AS (INSERT INTO docs.documents (tenant_id, source_id, task_id, title, newest_version)"
        f" SELECT '{acme.tenant_id}', 'small', '{uuid4()}', repeat('x', 40000), 1 FROM generate_series(1, 60)"
        " RETURNING tenant_id, document_id) INSERT INTO docs.document_versions (tenant_id, document_id, version,"
        " content, content_hash, claims, metadata) SELECT tenant_id, document_id, 1, 'x', encode(sha256('x'), 'hex'),"
        f" '[]', '{json.dumps(dict.fromkeys(keys, ''))}' FROM made"
    )
    pages = await pages_of(client.documents.ListDocuments, documents.ListDocumentsRequest, page_size=200)
    names = [document.name for page in pages for document in page.documents]
    assert (len(names), names) == (60, sorted(names, reverse=True))
    assert max(page.ByteSize() for page in pages) < 1.1 * LARGEST_PAGE_BYTES
