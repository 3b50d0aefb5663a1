"""How much of a conversation a model is told. Pure.

The history is append-only: the model's service caches the longest beginning that it has seen before. So it is cut
rarely and by much, always at a user's turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatrelay.domain.attachments import Attachment, Block, FileRoom, Loaded

BYTES_PER_TOKEN = 3
"""Cautious: English has about four, other scripts fewer."""
CUT_TO = 0.5
"""A conversation that is over its budget is cut to this part of it, so the next cut is many turns away."""
UNTOLD = ("thinking", "redacted_thinking")


@dataclass(frozen=True)
class Turn:
    """A user's message and what was answered.

    `blocks` are the reply's content blocks exactly as the model wrote them, or none if it wrote nothing. `tokens`
    counts both, as recorded by the model's service where it said so. `files` are the `attachments`, once loaded. One
    that is `plain` is told as nothing but text, because a service has refused it otherwise.
    """

    key: str
    content: str
    blocks: list[Block] = field(default_factory=list)
    tokens: int = 0
    attachments: tuple[Attachment, ...] = ()
    files: tuple[Loaded, ...] = ()
    plain: bool = False

    @property
    def is_rich(self) -> bool:
        """A model that knows content blocks is told more of it than text."""
        return not self.plain and bool(self.attachments or any(map(_is_rich, self.blocks)))


@dataclass(frozen=True)
class Room:
    """What one request to a model has room for: `tokens` of conversation, and files."""

    tokens: int
    files: FileRoom = field(default_factory=FileRoom)


@dataclass(frozen=True)
class Amended:
    """What a model's service took of a conversation that it had refused as it was; later requests need ask no more.

    The turns before the one of key `first` are told no more, those up to the one of key `plain_through` as text.
    """

    first: str
    plain_through: str = ""


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


def shortened(turns: Sequence[Turn], fits: float) -> Sequence[Turn]:
    """`turns` cut as ``window`` does, when a service has said that about the part `fits` of them, below 1, would do."""
    return window(turns, int(sum(turn.tokens for turn in turns) * fits))


def plain(turns: Sequence[Turn]) -> Sequence[Turn]:
    """`turns`, the earlier ones as nothing but text."""
    *earlier, last = turns
    return [*(replace(turn, plain=True) if turn.is_rich else turn for turn in earlier), last]


def _is_rich(block: Block) -> bool:
    return block["type"] not in ("text", *UNTOLD) or bool(block.get("citations"))
