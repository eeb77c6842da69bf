"""A task is ended even where it loses a cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from morningai.ending import end


async def test_a_task_that_loses_its_first_cancellation_is_ended():
    async def deaf():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end(task, again_seconds=0.01)
    assert task.cancelled()


async def test_a_task_has_the_time_to_clean_up():
    cleaned = []

    async def tidy():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(True)

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    await end(task)
    assert cleaned == [True]


async def test_how_a_task_fails_while_it_ends_is_nobody_s_concern():
    async def fails():
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await end(task, asyncio.create_task(asyncio.sleep(0)))
    assert task.done()
