"""How much of a conversation goes to a model. Pure.

The model's service caches the longest beginning that it has seen before. So the history is append-only, and is cut
rarely and by much, always at a user's turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatrelay.domain.attachments import Attachment, Block, FileRoom, Loaded

BYTES_PER_TOKEN = 3
"""A cautious estimate: English has about four, other scripts have fewer."""
CUT_TO = 0.5
"""A conversation over its budget is cut to this part of the budget, so the next cut is many turns away."""
THINKING = ("thinking", "redacted_thinking")


@dataclass(frozen=True)
class Turn:
    """A user's message and its reply.

    `blocks` are the reply's content blocks exactly as the model wrote them; empty if it wrote nothing. `tokens` counts
    message and reply, by the usage that the model's service reported if it did. `files` are the `attachments`, once
    loaded. A `plain` turn goes out as text only, because a service has refused it otherwise.
    """

    key: str
    content: str
    blocks: list[Block] = field(default_factory=list)
    tokens: int = 0
    attachments: tuple[Attachment, ...] = ()
    files: tuple[Loaded, ...] = ()
    plain: bool = False


@dataclass(frozen=True)
class Room:
    """What one request to a model has room for: tokens of conversation, and files."""

    tokens: int
    files: FileRoom = field(default_factory=FileRoom)


@dataclass(frozen=True)
class Amended:
    """What a model's service took of a conversation that it had refused as a whole; later requests begin with that.

    They leave out the turns before the key `first`, and have the turns up to the key `plain_through` as text only.
    """

    first: str = ""
    plain_through: str = ""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` has, rather too many than too few."""
    return len(text.encode()) // BYTES_PER_TOKEN + 1


def window(turns: Sequence[Turn], budget_tokens: int) -> Sequence[Turn]:
    """Return the latest of `turns`: all if they fit, or else as many as fit into half the budget, at least the last."""
    if sum(turn.tokens for turn in turns) <= budget_tokens:
        return turns
    # Cut by much, because every cut costs the cached beginning of the conversation.
    kept, left = len(turns) - 1, budget_tokens * CUT_TO - turns[-1].tokens
    while kept > 0 and (left := left - turns[kept - 1].tokens) >= 0:
        kept -= 1
    return turns[kept:]


def shortened(turns: Sequence[Turn], fits: float) -> Sequence[Turn]:
    """Return `turns` cut as by ``window``, where a service takes about the part `fits` of them, below 1."""
    return window(turns, int(sum(turn.tokens for turn in turns) * fits))


def plain(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Return `turns`, all but the last as text only."""
    *earlier, last = turns
    told: list[Turn] = []
    for turn in earlier:
        # Whether a model that knows content blocks gets more than text. Thinking does not count: no request carries the
        # thinking of an earlier turn.
        is_rich = (block["type"] not in ("text", *THINKING) or block.get("citations") for block in turn.blocks)
        told.append(replace(turn, plain=True) if turn.attachments or any(is_rich) else turn)
    return [*told, last]
