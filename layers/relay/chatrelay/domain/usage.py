"""What replies use: tokens, and what they cost. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

MICRO = 1_000_000
"""Dollars are counted in millionths: a token costs some of them."""


@dataclass(frozen=True)
class Used:
    """What one reply has used. `cost` is in micro-dollars, None where nobody knows the model's price.

    `tokens` has counts by the names of ``Ending``'s `usage`.
    """

    model: str
    tokens: Mapping[str, int]
    cost: int | None = None

    @property
    def total(self) -> int:
        """All tokens, cached ones included."""
        return sum(self.tokens.values())


@dataclass(frozen=True)
class Spent:
    """What a user has used in some time: tokens, micro-dollars, replies, and files with their bytes."""

    tokens: int = 0
    cost: int = 0
    replies: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Month:
    """A user's usage of the month `name`, ``2026-11``: all of it, and of each day (``2026-11-28``) all and by model."""

    name: str
    total: Spent
    days: Mapping[str, Spent]
    models: Mapping[str, Mapping[str, Mapping[str, int]]]
