"""What a model is told of a conversation. Pure.

The history is append-only and verbatim: the model's service caches the longest beginning it has seen before, and
checks the signatures of its own earlier thoughts. So it is cut rarely and by much, always at a user's turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatrelay.attachments import Attachment, Block, Loaded, as_text, block

Message = dict[str, Any]

BYTES_PER_TOKEN = 3
"""Cautious: English has about four, other scripts fewer."""
CUT_TO = 0.5
"""A conversation that is over its budget is cut to this part of it, so the next cut is many turns away."""


@dataclass(frozen=True)
class Turn:
    """A user's message and what was answered.

    `blocks` are the reply's content blocks exactly as the model wrote them, or none if it wrote nothing. `tokens`
    counts both, as recorded by the model's service where it said so. `files` are the `attachments`, once loaded.
    """

    key: str
    content: str
    blocks: list[Block] = field(default_factory=list)
    tokens: int = 0
    attachments: tuple[Attachment, ...] = ()
    files: tuple[Loaded, ...] = ()


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` has, rather too many than too few."""
    return len(text.encode()) // BYTES_PER_TOKEN + 1


def window(turns: Sequence[Turn], budget_tokens: int) -> Sequence[Turn]:
    """The latest of `turns` that fit: all of them, or after a cut half the budget. The last turn is always in."""
    if sum(turn.tokens for turn in turns) <= budget_tokens:
        return turns
    kept, left = len(turns) - 1, budget_tokens * CUT_TO - turns[-1].tokens
    while kept > 0 and (left := left - turns[kept - 1].tokens) >= 0:
        kept -= 1
    return turns[kept:]


def messages(turns: Sequence[Turn]) -> list[Message]:
    """`turns` as the model's service takes them: user and assistant by turns, beginning and ending with the user.

    Turns that were never answered are joined to the user's next one. Blank texts are left out: a model may write one,
    and its service refuses every request that contains it.
    """
    found: list[Message] = []
    for turn in turns:
        asked = _asked(turn)
        if found and found[-1]["role"] == "user":
            found[-1]["content"] += asked
        else:
            found.append({"role": "user", "content": asked})
        if answered := [block for block in turn.blocks if not _is_blank(block)]:
            found.append({"role": "assistant", "content": answered})
    return found


def spoken(turns: Sequence[Turn]) -> list[Message]:
    """`turns` as ``[{"role", "content"}]`` with nothing but text, for models that know no content blocks."""
    found: list[Message] = []
    for turn in turns:
        found.append({"role": "user", "content": told(turn)})
        answered = "".join(block["text"] for block in turn.blocks if block["type"] == "text")
        if answered.strip():
            found.append({"role": "assistant", "content": answered})
    return found


def told(turn: Turn) -> str:
    """What the user said, with the files that came with it, as nothing but text."""
    return "\n\n".join([*map(as_text, turn.files), *([turn.content] if turn.content.strip() or not turn.files else [])])


def _asked(turn: Turn) -> list[Block]:
    said = {"type": "text", "text": turn.content}
    files = [block(file) for file in turn.files]
    return files if files and _is_blank(said) else [*files, said]


def _is_blank(block: Block) -> bool:
    return block["type"] == "text" and not block["text"].strip()
