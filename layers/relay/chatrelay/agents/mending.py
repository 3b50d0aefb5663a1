"""Further tries with less of a conversation that a service has refused: no refusal ends a conversation. Pure."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from chatrelay.agents import Agent
from chatrelay.domain.errors import TooLong, Unaccepted
from chatrelay.domain.log import NewTry, Written, is_text
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Amended, Room, Turn, plain, shortened


class Mending:
    """An agent that is asked up to twice more: with a shorter or plain history, then with the last message alone.

    If the service refuses that as well, the message itself is refused. An agent that `reads_text_only` gets every
    history plain anyway.
    """

    def __init__(self, agent: Agent, *, reads_text_only: bool = False) -> None:
        self._agent = agent
        self._reads_text_only = reads_text_only

    @property
    def model(self) -> str:
        return self._agent.model

    @property
    def room(self) -> Room:
        return self._agent.room

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending | Amended]:
        """Implement ``Agent``. Yield ``Amended`` first where the service took less than `turns`."""
        asked, easier, has_text, is_meant = turns, None, False, True
        while True:
            is_taken = asked is turns or not is_meant
            if asked is not turns:
                yield NewTry()
            try:
                async with aclosing(self._agent.answer(conversation, asked)) as events:
                    async for event in events:
                        if not is_taken:
                            yield Amended(asked[0].key, max((turn.key for turn in asked if turn.plain), default=""))
                        is_taken, has_text = True, has_text or is_text(event)
                        yield event
                return
            except (TooLong, Unaccepted) as refusal:
                easier = self._easier(turns, refusal) if easier is None else easier
                if has_text or not easier:
                    raise
                asked = easier.pop(0)
                # A refusal without a type may be a proxy's, and pass: it must not cost the conversation its history.
                is_meant = is_meant and (isinstance(refusal, TooLong) or refusal.said.type != "")

    def _easier(self, turns: Sequence[Turn], refusal: TooLong | Unaccepted) -> list[Sequence[Turn]]:
        """Return what the service may take instead of `turns`, the best first."""
        if isinstance(refusal, Unaccepted):
            tries = [turns if self._reads_text_only else plain(turns), turns[-1:]]
        else:
            tries = [shortened(turns, refusal.fits), turns[-1:]] if refusal.fits else []
        found = [list(turns)]
        for less in map(list, tries):
            if less not in found:
                found.append(less)
        return list(found[1:])
