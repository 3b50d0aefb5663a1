"""The command that writes what models cost, held against its source's own calculation."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from genai_prices import Usage
from genai_prices.data import providers

from chatrelay.domain.prices import COUNTS, FILE, Prices
from infra.prices import TEXT_MODELS, main, published, written

NEWEST = datetime.max.replace(tzinfo=UTC)  # of prices that change on a day
PROMPTS = [(1_000, 300, 20_000, 4_000), (272_000, 9, 0, 0), (272_001, 7, 0, 0), (3, 2_000, 400_000, 5_000)]


def test_the_relays_file_is_of_the_source_that_is_pinned() -> None:
    assert FILE.read_text() == written(published()), "`make prices` writes it anew"


def test_every_model_costs_what_the_source_calculates() -> None:
    prices, compared = Prices.read(""), set()
    for provider in providers:
        for model in provider.models if provider.id in TEXT_MODELS else ():
            name = model.id.replace("regional.", "eu.")
            for fresh, output, read, created in PROMPTS:
                cost = prices.cost(name, dict(zip(COUNTS, (fresh, output, read, created), strict=True)))
                if cost is not None:
                    usage = Usage(
                        input_tokens=fresh + read + created,
                        output_tokens=output,
                        cache_read_tokens=read,
                        cache_write_tokens=created,
                    )
                    dollars = model.calc_price(usage, provider, genai_request_timestamp=NEWEST).total_price
                    assert 0 <= cost - dollars * 1_000_000 < 1, (name, fresh, cost, dollars)
                    compared.add(name)

    assert {"claude-sonnet-4-6", "gpt-5.5", "eu.anthropic.claude-sonnet-4-6-v1:0"} <= compared
    assert len(compared) > 100


def test_what_is_no_model_of_texts_or_has_no_price_is_left_out() -> None:
    prices = Prices.read("")

    for name in ("gpt-image-2", "gpt-realtime", "gpt-4o-audio-preview", "whisper-1", "gpt-oss-120b", "tts-1", "ada"):
        assert prices.cost(name, {}) is None


def test_what_changes_is_said_and_the_same_twice_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.json"
    before = published() | {
        "claude-sonnet-4-6": [[0, 2_500_000, 15_000_000, 300_000, 3_750_000]],
        "old": [[0, 1, 2, 3, 4]],
    }
    del before["claude-haiku-5-5"]
    file.write_text(written(before))

    assert main(["--file", str(file)]) == 0
    first = capsys.readouterr().out.splitlines()
    assert main(["--file", str(file)]) == 0
    second = capsys.readouterr().out.splitlines()

    assert first[:-1] == [
        "+ claude-haiku-5-5  0.1/0.5/0.01/0.125, 100000: 0.5/2.5/0.05/0.625",
        "  claude-sonnet-4-6  2.5/15/0.3/3.75 -> 3/15/0.3/3.75",
        "- old  0.000001/0.000002/0.000003/0.000004",
    ]
    assert first[-1].startswith(f"{len(published())} models, 3 changes, by genai-prices ")
    assert len(second) == 1
    assert file.read_text() == FILE.read_text()
