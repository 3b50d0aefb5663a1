"""A conversation as text, with its files as text, for models that read nothing else. Pure."""

from collections.abc import Sequence

from chatrelay.agents.requests import Message
from chatrelay.domain import attachments
from chatrelay.domain.turns import Turn


def as_plain_messages(turns: Sequence[Turn]) -> list[Message]:
    """Return `turns` as ``[{"role", "content"}]``, as text only."""
    found: list[Message] = []
    for turn in turns:
        found.append({"role": "user", "content": as_text(turn)})
        answered = "".join(each["text"] for each in turn.blocks if each["type"] == "text" and each.get("text"))
        if answered.strip():
            found.append({"role": "assistant", "content": answered})
    return found


def as_text(turn: Turn) -> str:
    """Return the user's message and its files, as text only."""
    files = [attachments.as_text(file) for file in turn.files]
    return "\n\n".join([*files, turn.content] if turn.content.strip() or not files else files)
