"""What a reply costs, by the prices that its model's service publishes.

``prices.json`` has the prices of Anthropic's and OpenAI's text models and of Anthropic's at Bedrock, in micro-dollars
per million tokens, as lists of ``Rate``. ``python -m infra.prices`` writes it.

Not in these prices: searches and other tools that a service charges by the call, discounts, priority, and cached
prompts that are kept for longer than a service does by default (5 minutes at Anthropic, 30 at OpenAI).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from chatrelay.domain.errors import SettingError

FILE = Path(__file__).with_name("prices.json")
MILLION = 1_000_000
AMOUNT = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"  # whole micro-dollars, and no digits of other scripts
OVERRIDE = re.compile(rf"(?P<model>[^\s=]+)=(?P<dollars>{AMOUNT}/{AMOUNT}(?:/{AMOUNT}/{AMOUNT})?)")
NAME = re.compile(
    r"(?P<region>(?!global\.)[a-z-]+\.(?=anthropic\.))?"
    r"(?P<model>(?P<bedrock>(?:global\.)?anthropic\.)?.*?)"
    r"(?P<date>[-@]20[0-9]{6}|-20[0-9]{2}-[0-9]{2}-[0-9]{2})?"
    r"(?P<version>(?(bedrock)(?:-v[0-9]{1,2})?(?::[0-9]{1,2})?))",
    re.DOTALL,
)
"""A model's name, and what services add to it. Only at Bedrock, ``-v1:0`` is no other model.

All regions of Bedrock have one price, and its ``global.`` another.
"""
COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

Rows = list[list[int]]


@dataclass(frozen=True)
class Rate:
    """What the tokens of a request cost if its prompt has more than `above`: micro-dollars per million tokens."""

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int


class Prices:
    """The prices of models by name. Of those in the file, `overrides` replaces some and adds others."""

    def __init__(self, overrides: Mapping[str, Rows]) -> None:
        self._overrides = overrides

    @classmethod
    def read(cls, overrides: str) -> "Prices":
        """Return the file's prices and those of ``MODEL_PRICES``, which are separated by blanks.

        Each is ``model=input/output`` or ``model=input/output/cache read/cache write``, in dollars per million tokens.
        Raise ``SettingError`` with an entry of another shape.
        """
        return cls(dict(map(_override, overrides.split())))

    def cost(self, model: str, usage: Mapping[str, int]) -> int | None:
        """Return what `usage` costs in micro-dollars, rounded up; None if the model's price is unknown.

        `usage` is as in ``Ending``; an absent count is 0. The longest known name that begins `model` counts, if only a
        date or a version follows it. Answers of Bedrock have Anthropic's name for their model, which is cheaper than
        Bedrock's regions: pass the name that was asked for.

        A price that rises with the prompt is that of all tokens. A turn that its service has paused is priced as one
        request, so its price may rise too early.
        """
        rows = next((self._prices[name] for name in names(model) if name in self._prices), None)
        if rows is None:
            return None
        fresh, output, read, created = (usage.get(name, 0) for name in COUNTS)
        rates = [Rate(*row) for row in rows]
        rate = next((rate for rate in reversed(rates) if fresh + read + created > rate.above), rates[0])
        cost = fresh * rate.input + output * rate.output + read * rate.cache_read + created * rate.cache_write
        return -(-cost // MILLION)

    @cached_property
    def _prices(self) -> Mapping[str, Rows]:
        return {**json.loads(FILE.read_bytes())["models"], **self._overrides}


def names(model: str) -> Iterator[str]:
    """Yield the names under which `model` may be priced: its own, then without version, date and region of Bedrock."""
    parts = NAME.fullmatch(model)
    assert parts  # noqa: S101 - every text matches
    date, version = parts["date"] or "", parts["version"]
    for region in (parts["region"] or "", ""):
        for suffix in (date + version, date, ""):
            yield region + parts["model"] + suffix


def _override(entry: str) -> tuple[str, Rows]:
    found = OVERRIDE.fullmatch(entry)
    if not found:
        raise SettingError(
            f"the environment variable MODEL_PRICES must have entries such as my-model=3/15 or my-model=3/15/0.3/3.75"
            f" (dollars per million tokens: input/output[/cache read/cache write]), has {entry!r}"
        )
    fresh, output, *cache = (int(Decimal(amount) * MILLION) for amount in found["dollars"].split("/"))
    return found["model"], [[0, fresh, output, *(cache or (fresh, fresh))]]
