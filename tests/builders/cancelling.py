"""Readers who have had enough."""

import asyncio
from collections.abc import Sequence

from chatrelay.agents import Agent
from chatrelay.domain.turns import Turn


async def cancelled_midway(agent: Agent, turns: Sequence[Turn]) -> asyncio.Task[None]:
    """A reader of the answer, cancelled once something of it has come."""
    told = asyncio.Event()

    async def read() -> None:
        async for _ in agent.answer("talk", turns):
            told.set()

    reading = asyncio.create_task(read())
    await told.wait()
    reading.cancel()
    return reading
