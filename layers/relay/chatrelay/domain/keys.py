"""What a conversation, a reply and a stream are known by."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ConversationKey:
    """A conversation of a user. The user is part of the key, so nobody reaches another's."""

    user: str
    conversation: str

    @property
    def session(self) -> str:
        """A name for agents that keep sessions: two users may have given their conversations the same one."""
        return f"{self.user}/{self.conversation}"


@dataclass(frozen=True)
class ReplyLocation:
    """Where a reply is kept: its conversation, and the turn in it."""

    reply: str
    key: ConversationKey
    turn: str


@dataclass(frozen=True)
class StreamId:
    """Where a frame belongs: the reply, its conversation, and the epoch of the worker that writes the reply."""

    conversation: str
    reply: str
    epoch: int

    def fields(self) -> dict[str, Any]:
        return {"conversation": self.conversation, "reply": self.reply, "epoch": self.epoch}
