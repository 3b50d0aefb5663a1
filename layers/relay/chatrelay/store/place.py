"""Where everything of a conversation is kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A conversation of a user. The user is part of the key, so nobody reaches another's."""

    user: str
    conversation: str

    @property
    def pk(self) -> str:
        """The partition."""
        return f"CONVERSATION#{self.user}#{self.conversation}"

    @property
    def session(self) -> str:
        """A name for agents that keep sessions: two users may have given their conversations the same one."""
        return f"{self.user}/{self.conversation}"
