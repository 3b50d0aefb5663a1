"""What identifies a conversation, a reply and a stream."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ConversationKey:
    """A conversation of a user. The user is part of the key, so nobody reaches another's."""

    user: str
    conversation: str

    @property
    def session(self) -> str:
        """A name for agents that keep sessions; unique, though two users may give their conversations the same name."""
        return f"{self.user}/{self.conversation}"


@dataclass(frozen=True)
class ReplyLocation:
    """Where a reply is stored: its conversation, and the turn in it."""

    reply: str
    key: ConversationKey
    turn: str


@dataclass(frozen=True)
class StreamId:
    """The stream that a frame belongs to: a reply, its conversation, and the epoch of the worker that writes it."""

    conversation: str
    reply: str
    epoch: int

    def fields(self) -> dict[str, Any]:
        """Return the stream as every frame carries it."""
        return {"conversation": self.conversation, "reply": self.reply, "epoch": self.epoch}
