"""The models behind the relay: one adapter each, behind one interface."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from chatrelay.domain.log import Written
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Amended, Room, Turn


class Agent(Protocol):
    """A model that answers conversations. `model` is the name of the one that is asked first."""

    @property
    def model(self) -> str: ...

    @property
    def room(self) -> Room:
        """How much of a conversation one request to the model has room for."""
        ...

    def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending | Amended]:
        """Yield the answer to the last of `turns`: what enters its log as it is written, then one ``Ending``.

        `conversation` is a name for models that keep sessions. No piece splits a surrogate pair. Raise ``ReplyError``
        when the answer breaks off; what was written until then stands. Only ``Mending`` yields ``Amended``. Cancelling
        the iteration stops the model at once.
        """
        ...


class KeptText(Protocol):
    """A text that an operator keeps for an agent: the key of its service, or its system prompt."""

    async def __call__(self, *, renew: bool = False) -> str:
        """Return the text; `renew` reads it again, because a service refused the last. Raise ``ReplyError``."""
        ...
