"""How a connection speaks, and how it wants to be spoken to: one object a dialect. Pure."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from chatrelay.domain.log import Kind, Log
from chatrelay.wire.inbound import Defaults, Inbound
from chatrelay.wire.outbound import Outbound


@dataclass(frozen=True)
class Pacing:
    """The least distance in time between the frames of one connection.

    `min_interval_s` is from the start of one post to the start of the next, and does not hold back the end of a reply.
    `quiet_s` is from the end of one post to the start of the next, for every frame: what the client can rely on,
    because a frame arrives while its post is under way.
    """

    min_interval_s: float
    quiet_s: float


class Dialect(ABC):
    """What differs between the kinds of clients.

    `tells_replies_apart` says whether the client reads the ids and offsets of frames: such a client sends a message
    again, resumes, and takes the frames of two replies in any order. `kinds` are the parts of a reply that it shows.
    """

    name: ClassVar[str]
    pacing: ClassVar[Pacing]
    tells_replies_apart: ClassVar[bool]
    kinds: ClassVar[frozenset[Kind]]

    @abstractmethod
    def parse(self, body: str | None, defaults: Defaults) -> Inbound:
        """Return the frame that a client of this dialect has sent. Raise ``InvalidMessage``."""

    @abstractmethod
    def ending(self, last: Outbound, log: Log) -> Outbound:
        """Return the last frame of the reply that is `log`, as clients of this dialect know it."""

    @abstractmethod
    def adapt(self, frame: Outbound) -> Outbound:
        """Return `frame` as clients of this dialect know it."""
