"""What models cost: ``python -m infra.prices`` writes the file by which the relay prices replies.

The prices are those of genai-prices, which Pydantic keeps from the price pages of the services. `make lock` brings its
newest version. Of a price that changes on a day, the newest is taken.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr, ClauseStartsWith, ModelInfo, ModelPrice, Provider, TieredPrices

from chatrelay.domain.prices import FILE, MILLION, Rate, Rows, names

SOURCE = "genai-prices"
UNIT = "micro-dollars per million tokens: [prompt tokens above which it counts, input, output, cache read, cache write]"
# Open models have no price at OpenAI.
OF_OTHER_KINDS = "audio|image|instruct|live|oss|realtime|-search|transcribe|translate|tts|vision"
# The source also knows names as others spell them: claude-4.6-opus, gpt-5-5.
OF_OTHERS = "claude-[4-9]|gpt-[0-9]-[0-9](-|$)|gpt-35"
TEXT_MODELS = {
    "anthropic": re.compile(rf"(?!{OF_OTHERS})claude-(?!v)[a-z0-9-]+"),
    "aws": re.compile(r"(global\.)?anthropic\.claude-[a-z0-9:-]+"),
    "openai": re.compile(rf"(?!{OF_OTHERS})(?!.*({OF_OTHER_KINDS}))(chat|codex|computer-use|gpt|o[0-9])[a-z0-9.-]*"),
}
"""By provider, the names of models that answer texts with texts. Fine-tuned ones have colons, and are left out."""
CUT_OFF = re.compile(r".*(-|-20[0-9]{2})")
"""What the source compares only the beginning of a name with."""


def main(arguments: list[str] | None = None) -> int:
    """Write the file and say what has changed. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.prices", description=__doc__)
    parser.add_argument("--file", type=Path, default=FILE, help="another file than the relay's")
    file: Path = parser.parse_args(arguments).file
    before: dict[str, Rows] = json.loads(file.read_bytes())["models"] if file.exists() else {}
    after = published()
    file.write_text(written(after))
    moved = list(changes(before, after))
    print(*moved, f"{len(after)} models, {len(moved)} changes, by {SOURCE} {version(SOURCE)}.", sep="\n")
    return 0


def published() -> dict[str, Rows]:
    """Return the prices of every text model, under its shortest name."""
    return _shortest(
        {
            name: rows
            for provider in providers
            for name in _names(provider)
            if (model := provider.find_model(name)) and (rows := _rows(model))
        }
    )


def written(prices: Mapping[str, Rows]) -> str:
    """Return `prices` as a file: sorted, a line a model, so that a difference can be read."""
    models = ",\n".join(f"    {json.dumps(name)}: {json.dumps(rows)}" for name, rows in sorted(prices.items()))
    head = f'  "source": {json.dumps(f"{SOURCE} {version(SOURCE)}")},\n  "unit": {json.dumps(UNIT)},\n'
    return f'{{\n{head}  "models": {{\n{models}\n  }}\n}}\n'


def changes(before: Mapping[str, Rows], after: Mapping[str, Rows]) -> Iterator[str]:
    """Yield a line for each model that was added or removed, or whose price has moved."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            mark = "+" if old is None else "-" if new is None else " "
            yield f"{mark} {name}  " + " -> ".join(_dollars(rows) for rows in (old, new) if rows)


def _names(provider: Provider) -> Iterator[str]:
    """Yield the names of text models. At Bedrock, the source's ids begin with ``global.`` or ``regional.``."""
    known = {name for model in provider.models for name in (model.id.removeprefix("regional."), *_compared(model))}
    for name in sorted(known) if provider.id in TEXT_MODELS else ():
        if TEXT_MODELS[provider.id].fullmatch(name) and not CUT_OFF.fullmatch(name):
            yield name


def _compared(model: ModelInfo) -> Iterator[str]:
    """Yield what the source compares names with, to find this model."""
    for clause in model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]:
        match clause:
            case ClauseEquals():
                yield clause.equals
            case ClauseStartsWith():
                yield clause.starts_with


def _rows(model: ModelInfo) -> Rows:
    """Return the rates of a model, with rising `above`; none if it has no price for what it reads or writes."""
    price = model.prices if isinstance(model.prices, ModelPrice) else model.prices[-1].prices
    fresh, output = price.input_mtok, price.output_mtok
    if fresh is None or output is None:
        return []
    # As the services do: what has no price of its own is input.
    cache = (fresh if amount is None else amount for amount in (price.cache_read_mtok, price.cache_write_mtok))
    amounts = (fresh, output, *cache)
    starts = {tier.start for amount in amounts if isinstance(amount, TieredPrices) for tier in amount.tiers}
    rates = (Rate(start, *(_micro(_from(amount, start)) for amount in amounts)) for start in sorted({0, *starts}))
    return [list(astuple(rate)) for rate in rates]


def _from(amount: Decimal | TieredPrices, start: int) -> Decimal:
    """Return the price of prompts that are longer than `start`."""
    if isinstance(amount, TieredPrices):
        return next((tier.price for tier in reversed(amount.tiers) if tier.start <= start), amount.base)
    return amount


def _micro(dollars: Decimal) -> int:
    micro = dollars * MILLION
    if micro != int(micro):
        raise ValueError(f"{dollars} dollars are no whole number of micro-dollars")
    return int(micro)


def _shortest(prices: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return `prices` without the names that a shorter name prices the same."""
    families: dict[str, list[str]] = {}
    for name in prices:
        *_, stem = names(name)
        families.setdefault(stem, []).append(name)
    shortest: dict[str, Rows] = {}
    for stem, family in families.items():
        rows = [prices[name] for name in family]
        # Dates with different prices say nothing of another date.
        if stem not in prices and rows.count(rows[0]) == len(rows):
            shortest[stem] = rows[0]
        else:
            shortest |= {name: prices[name] for name in family if name == stem or prices[name] != prices.get(stem)}
    return shortest


def _dollars(rows: Rows) -> str:
    """Return a price as people write it, in dollars per million tokens: 3/15/0.3/3.75, 200000: 6/22.5/0.6/7.5."""
    texts = ["/".join(f"{Decimal(amount) / MILLION:f}" for amount in amounts) for _, *amounts in rows]
    return ", ".join(f"{above}: {text}" if above else text for (above, *_), text in zip(rows, texts, strict=True))


if __name__ == "__main__":
    sys.exit(main())
