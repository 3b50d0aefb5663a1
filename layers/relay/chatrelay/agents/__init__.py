"""The models behind the relay, one adapter each, all alike from the outside."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from chatrelay.history import Turn
from chatrelay.reply import Aside, Ending


class Agent(Protocol):
    """Answers conversations."""

    def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Aside | Ending]:
        """The answer to the last of `turns`: texts and asides as they are written, then one ``Ending``.

        `conversation` is its name, for a model that remembers conversations by itself. Neither text nor aside ever
        splits a surrogate pair. Raises ``ReplyError`` when the answer breaks off; the texts until then stand.
        Cancelling the iteration stops the model at once.
        """
        ...


class SecretKey(Protocol):
    """Where the API key of a model's service is kept."""

    async def __call__(self, *, renew: bool = False) -> str:
        """The key; `renew` reads it anew, because the last one was refused."""
        ...
