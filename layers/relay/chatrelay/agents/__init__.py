"""The models behind the relay, one adapter each, all alike from the outside."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from chatrelay.domain.reply import Aside, Ending
from chatrelay.domain.turns import Amended, Room, Turn


class Agent(Protocol):
    """Answers conversations."""

    @property
    def room(self) -> Room:
        """How much of a conversation one request to the model may have."""
        ...

    def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Aside | Ending | Amended]:
        """The answer to the last of `turns`: texts and asides as they are written, then one ``Ending``.

        `conversation` is its name, for a model that remembers conversations by itself. Neither text nor aside ever
        splits a surrogate pair. Raises ``ReplyError`` when the answer breaks off; the texts until then stand. Only
        ``Mending`` gives ``Amended``. Cancelling the iteration stops the model at once.
        """
        ...


class KeptText(Protocol):
    """Where an operator keeps a text for an agent: the key of its service, what it is told before conversations."""

    async def __call__(self, *, renew: bool = False) -> str:
        """The text; `renew` reads it anew, because the last one was refused. Raises ``ReplyError``."""
        ...
