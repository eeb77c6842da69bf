from __future__ import annotations

import asyncio

import pytest

from morningai.errors import Unavailable
from services.tenancy.subscribers.line import Line


class Visitors:
    """Those who took a place, in their order; each stays until it is let go."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.came: list[str] = []
        self.going = asyncio.Semaphore(0)

    async def visit(self, group: str) -> None:
        async with self.line.place(group):
            self.came.append(group)
            await self.going.acquire()

    async def send(self, *groups: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.visit(group)) for group in groups]
        await settle()
        return tasks

    async def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self.going.release()
            await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_are_let_in_than_there_are_places():
    visitors = Visitors(Line(2))
    await visitors.send(*"aaaa")
    assert len(visitors.came) == 2
    await visitors.let_go(4)
    assert len(visitors.came) == 4


async def test_groups_take_turns():
    visitors = Visitors(Line(1))
    await visitors.send(*"aaaaaa", "b", "c", "b")
    await visitors.let_go(9)
    assert "".join(visitors.came) == "aabcabaaa"


async def test_a_group_that_waits_in_too_great_a_number_is_refused_and_no_other():
    visitors = Visitors(Line(1, most_waiting_of_a_group=2))
    *_, refused = await visitors.send(*"aaaa")
    with pytest.raises(Unavailable, match="Too many"):
        await refused
    (other,) = await visitors.send("b")
    await visitors.let_go(4)
    await other
    assert "".join(visitors.came) == "aaba"


async def test_all_together_wait_in_a_limited_number():
    visitors = Visitors(Line(1, most_waiting=2))
    *_, refused = await visitors.send(*"abcd")
    with pytest.raises(Unavailable, match="Too many"):
        await refused
    await visitors.let_go(3)


async def test_who_gives_up_keeps_no_place():
    visitors = Visitors(Line(1))
    first, waiting, last = await visitors.send(*"abc")
    waiting.cancel()
    await visitors.let_go()
    assert visitors.came == ["a", "c"]
    last.cancel()
    await settle()
    await visitors.send("d")
    assert visitors.came == ["a", "c", "d"]
    await first
    await visitors.let_go()
