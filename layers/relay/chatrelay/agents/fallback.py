"""Another model in place of one that has too much to do. Pure."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from chatrelay.agents import Agent
from chatrelay.domain.errors import Denied, Overloaded, TooLong, Unaccepted
from chatrelay.domain.log import NewTry, Written, is_text
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Amended, Room, Turn


class Fallback:
    """The agent `agent`, or `other` if `agent` is overloaded before its first text."""

    def __init__(self, agent: Agent, other: Agent) -> None:
        self._agent = agent
        self._other = other

    @property
    def model(self) -> str:
        return self._agent.model

    @property
    def room(self) -> Room:
        return self._agent.room

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending | Amended]:
        """Implement ``Agent``."""
        has_text = False
        try:
            async with aclosing(self._agent.answer(conversation, turns)) as events:
                async for event in events:
                    # Thoughts do not count: no model is told of them.
                    has_text = has_text or is_text(event)
                    yield event
                return
        except Overloaded as problem:
            if has_text:  # another model cannot go on from a text that somebody reads
                raise
            busy = problem
        yield NewTry()
        try:
            async with aclosing(self._other.answer(conversation, turns)) as events:
                async for event in events:
                    yield event
        except (Denied, TooLong, Unaccepted) as refusal:
            raise busy from refusal  # the request is fit for the model that was busy
